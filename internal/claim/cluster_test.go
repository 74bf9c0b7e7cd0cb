package claim_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longshore/internal/claim/claimtest"
)

// TestRedisCluster runs the suite on a Redis Cluster, of one server: every
// script must name its one key, and the client must follow the cluster's map.
func TestRedisCluster(t *testing.T) {
	dir := shortDir(t)
	port := freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	server := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--cluster-port", fmt.Sprint(freePort(t)),
		"--cluster-enabled", "yes", "--save", "", "--dir", dir, "--logfile", filepath.Join(dir, "log"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = server.Wait() // killed
	}()
	c := raw(t, "redis://"+address)
	until(t, "answer", func() bool { return c.Ping(t.Context()).Err() == nil })
	if err := c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "cluster", func() bool {
		info, err := c.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	at := func(t *testing.T, f func(*testing.T)) {
		t.Helper()
		f(t)
	}
	claimtest.Run(t, at, func(t *testing.T, ttl time.Duration) claimtest.Claims {
		t.Helper()
		return open(t, "redis://"+address+"?addr="+address, t.Name(), ttl)
	})
}

// freePort is a TCP port of loopback that nobody has now.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
