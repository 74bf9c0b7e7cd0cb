package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
	"longshore/test/cluster"
)

// TestSlowPull: while a pull for alice gets a byte a second, her other
// placements on that node start, bob's too, and every query answers. When the
// bytes come again, the placement that waited for them runs.
func TestSlowPull(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1})
	slow := c.SlowRegistry()
	c.PushHello("alice", "hello:latest")
	c.PushHello("bob", "hello:latest")
	c.PushLarge("alice", "large:latest")
	c.Must("submit", c.File("warm.yaml", "name: warm\nservices:"+service("web", 1, 9500, "", "")), "--owner", "alice")

	slow.Slow(true)
	large := strings.Replace(service("web", 1, 9501, "", "large"), "hello:latest", "large:latest", 1)
	c.Must("submit", c.File("large.yaml", "name: large\nservices:"+large), "--owner", "alice", "--detach")
	cluster.Eventually(t, 20*time.Second, "the slow pull is under way", func() error {
		s := c.Statuses(placement.Filter{Owner: "alice", App: "large"})
		if len(s) != 1 || !strings.HasPrefix(s[0].Phase, "pulling") || slow.Sent() == 0 {
			return fmt.Errorf("%+v; %d bytes came", s, slow.Sent())
		}
		return nil
	})

	const others = "name: others\nservices:\n  web:\n    image: hello:latest\n    environment: {PORT: \"0\"}\n    deploy: {replicas: 20, resources: {reservations: {cpus: \"0.01\", memory: 8M}}}\n"
	file := c.File("others.yaml", others)
	began := time.Now()
	c.Must("submit", file, "--owner", "alice", "--timeout", "90s")
	t.Logf("20 others of alice ran after %.1f s", time.Since(began).Seconds())
	c.Must("submit", c.File("bob.yaml", "name: bob\nservices:"+service("web", 1, 9502, "", "")), "--owner", "bob", "--timeout", "60s")
	queries(t, c)
	if slow.Flowing() != 1 {
		t.Fatalf("%d slow transfers after all this, not 1", slow.Flowing())
	}

	slow.Slow(false)
	cluster.Eventually(t, 60*time.Second, "what was pulled slowly runs", func() error {
		if s := c.Statuses(placement.Filter{Owner: "alice", App: "large"}); len(s) != 1 || s[0].State != placement.Running {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	answers(t, "http://"+c.Nodes[0].Address.String()+":9501/", "large")
}

// queries asks everything that can be asked, each within 5 s.
func queries(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, args := range [][]string{
		{"ps", "--owner", "alice"},
		{"status", "alice/large"},
		{"explain", "alice/large/web/1"},
		{"node", "ls"},
		{"node", "show", "n1"},
	} {
		began := time.Now()
		out := c.Must(args...)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("schedctl %v answered after %v", args, took)
		}
		if args[0] == "explain" && !strings.Contains(out, "pulling") {
			t.Errorf("schedctl %v does not say that it is pulling:\n%s", args, out)
		}
	}
	n := c.Nodes[0]
	for socket, methods := range map[string][]string{"agent.sock": {"copies", "room", "info"}, "hostinfo.sock": {"copies", "daemons", "room", "info"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		link, err := rpc.Dial(ctx, rpc.ZMQ(rpc.ZMQOptions{}), "ipc://"+filepath.Join(n.RunDir, socket), rpc.Config{})
		if err != nil {
			t.Errorf("dial %s: %v", socket, err)
		} else {
			for _, m := range append(methods, "_zerorpc_ping") {
				if err := link.Call(ctx, m, nil); err != nil {
					t.Errorf("%s of %s: %v", m, socket, err)
				}
			}
			link.Close()
		}
		cancel()
	}
}
