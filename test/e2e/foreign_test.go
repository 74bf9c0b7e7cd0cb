package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"longshore/test/cluster"
)

// foreignDir is where the Docker of somebody else lies in the box.
const foreignDir = "/var/lib/foreign"

// notOurs are directories whose owners change what is below them all the time.
var notOurs = []string{
	foreignDir, "/run/foreign",
	"/var/lib/longshore-dev/other", "/run/longshore-dev/other",
	"/run/containerd", "/run/user",
}

// settled is the machine once it is the same twice.
func settled(t *testing.T) machine {
	t.Helper()
	last := lookAround(t, notOurs...)
	cluster.Eventually(t, 30*time.Second, "the machine is at rest", func() error {
		now := lookAround(t, notOurs...)
		err := last.same(now)
		last = now
		return err
	})
	return last
}

// same is an error that tells the difference.
func (m machine) same(later machine) error {
	if d := m.diff(later); d != "" {
		return errors.New(d)
	}
	return nil
}

// foreign is what somebody else runs on the machine: a Docker with a container
// whose port is published, a bridge, and rules.
type foreign struct{ t *testing.T }

func startForeign(t *testing.T) foreign {
	t.Helper()
	for _, line := range []string{
		"ip link add theirs type bridge",
		"ip address add 198.51.100.1/24 dev theirs",
		"ip link set theirs up",
		"iptables -w -N THEIRS",
		"iptables -w -A THEIRS -s 198.51.100.0/24 -p tcp --dport 25 -j DROP",
		"iptables -w -A FORWARD -j THEIRS",
		"iptables -w -t nat -A POSTROUTING -s 198.51.100.0/24 ! -o theirs -j MASQUERADE",
		"iptables -w -t mangle -A FORWARD -i theirs -j MARK --set-mark 7",
	} {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "dockerd"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("dockerd", "--data-root", foreignDir+"/data", "--exec-root", "/run/foreign", "--pidfile", "/run/foreign.pid", "-H", "unix:///run/foreign.sock", "--userland-proxy=false")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // nothing outlives the box
		_ = cmd.Wait()
	})
	f := foreign{t}
	f.runContainer()
	return f
}

// runContainer runs the example program in the foreign Docker.
func (f foreign) runContainer() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	docker, err := cluster.Docker("/run/foreign.sock")
	if err != nil {
		f.t.Fatal(err)
	}
	defer docker.Close()
	cluster.Eventually(f.t, 30*time.Second, "the foreign Docker answers", func() error {
		_, err := docker.Ping(ctx)
		return err
	})
	answer, err := docker.ImageImport(ctx, image.ImportSource{Source: tarOf(f.t, cluster.Bin("hello")), SourceName: "-"}, "theirs:latest",
		image.ImportOptions{Changes: []string{`CMD ["/hello"]`, "ENV PORT=7070 GREETING=theirs"}})
	if err != nil {
		f.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer) // its end is what counts
	answer.Close()
	var config container.Config
	var host container.HostConfig
	for text, into := range map[string]any{
		`{"Image": "theirs:latest", "ExposedPorts": {"7070/tcp": {}}}`:                     &config,
		`{"PortBindings": {"7070/tcp": [{"HostIp": "198.51.100.1", "HostPort": "7070"}]}}`: &host,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			f.t.Fatal(err)
		}
	}
	made, err := docker.ContainerCreate(ctx, &config, &host, nil, nil, "theirs")
	if err != nil {
		f.t.Fatal(err)
	}
	if err := docker.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

// answers wants the container to answer at its published port.
func (f foreign) answers() {
	f.t.Helper()
	answers(f.t, "http://198.51.100.1:7070/", "theirs")
}

// tarOf is a tar with one program in it.
func tarOf(t *testing.T, program string) io.Reader {
	t.Helper()
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// redisOf is the redis-server of a dev cluster; 0: it runs none.
func redisOf(t *testing.T, name string) int {
	t.Helper()
	for _, p := range processes() {
		pid, argv, _ := strings.Cut(p, " ")
		if strings.Contains(argv, "redis-server") && strings.Contains(argv, "/run/longshore-dev/"+name+"/") {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}
