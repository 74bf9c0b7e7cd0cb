package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// machines are three of them in a box, each with a network namespace of its
// own: m1 with Redis, a broadcaster and node n1, m2 with n2, m3 with n3. They
// reach each other over one Ethernet alone, and every link has TLS.
type machines struct {
	t    *testing.T
	dir  string
	logs []string
}

const (
	centre    = "10.77.0.1"
	redisURL  = "redis://:s3cret@" + centre + ":6379"
	endpoint  = "tls://" + centre + ":7700"
	shortLife = 24 * time.Second // of the certificates that end during the test
)

func startMachines(t *testing.T) *machines {
	t.Helper()
	m := &machines{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		for _, log := range m.logs {
			if b, err := os.ReadFile(log); err == nil && t.Failed() {
				t.Logf("%s:\n%s", filepath.Base(log), b[max(0, len(b)-3000):])
			}
		}
	})
	m.sh("ip link add ether type bridge && ip addr add 10.77.0.254/24 dev ether && ip link set ether up")
	for i := 1; i <= 3; i++ {
		m.sh(fmt.Sprintf(`ip netns add m%[1]d
			ip link add to%[1]d type veth peer name eth0 netns m%[1]d
			ip link set to%[1]d master ether up
			nsenter --net=/run/netns/m%[1]d sh -ec "ip link set lo up; ip addr add 10.77.0.%[1]d/24 dev eth0; ip link set eth0 up"`, i))
	}
	return m
}

func (m *machines) sh(script string) {
	m.t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// on is a command on a machine.
func on(machine, program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + machine, program}, args...)...)
}

// start starts a program on a machine; the end of the box ends it, or end.
func (m *machines) start(machine, name, program string, args ...string) (end func()) {
	m.t.Helper()
	path := filepath.Join(m.dir, machine+"-"+name+".log")
	m.logs = append(m.logs, path)
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	cmd := on(machine, program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	return func() {
		_ = cmd.Process.Kill()
		<-done
	}
}

// broadcaster starts the centre; without the authority's key nothing can be
// renewed there.
func (m *machines) broadcaster(ca string) (end func()) {
	m.t.Helper()
	return m.start("m1", "broadcasterd", cluster.Bin("broadcasterd"), "--data-dir", "/var/lib/broadcaster", "--run-dir", "/run/longshore",
		"--tls-dir", m.path("b1"), "--ca-dir", ca)
}

func (m *machines) path(name string) string { return filepath.Join(m.dir, name) }

// nodeFlags are the command line of a node's daemon.
func (m *machines) nodeFlags(role string, i int) []string {
	base := fmt.Sprintf("m%d", i)
	return []string{
		"--tls-dir", m.path(fmt.Sprintf("%s-n%d", role, i)), "--address", fmt.Sprintf("10.77.0.%d", i), "--broadcaster", endpoint,
		"--redis", redisURL, "--state-dir", "/var/lib/" + base, "--run-dir", "/run/" + base, "--pause", cluster.Bin("longshore-pause"),
		"--memory", "1g", "--cpus", "1",
	}
}

// schedctl runs it on a machine with somebody's certificate.
func (m *machines) schedctl(machine, who string, args ...string) (text string, code int) {
	m.t.Helper()
	cmd := on(machine, cluster.Bin("schedctl"), args...)
	cmd.Env = append(os.Environ(), "LONGSHORE_ENDPOINT="+endpoint, "LONGSHORE_TLS_DIR="+m.path(who))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (m *machines) must(who string, args ...string) string {
	m.t.Helper()
	text, code := m.schedctl("m2", who, args...)
	if code != 0 {
		m.t.Fatalf("schedctl %v as %s: exit code %d\n%s", args, who, code, text)
	}
	return text
}

// refused runs what must fail, and say why.
func (m *machines) refused(why, who string, args ...string) {
	m.t.Helper()
	if text, code := m.schedctl("m2", who, args...); code == 0 || !strings.Contains(text, why) {
		m.t.Errorf("schedctl %v as %s: exit code %d, without %q:\n%s", args, who, code, why, text)
	}
}

// issue makes certificates with the real command line.
func (m *machines) issue(ca, who, out string, flags ...string) {
	m.t.Helper()
	args := append([]string{"ca", "issue", who, "--ca-dir", m.path(ca), "--out", m.path(out)}, flags...)
	if out, err := exec.Command(cluster.Bin("schedctl"), args...).CombinedOutput(); err != nil {
		m.t.Fatalf("schedctl %v: %v\n%s", args, err, out)
	}
}

// answers asks each node for the app's page over the Ethernet.
func (m *machines) answers() error {
	for i := 1; i <= 3; i++ {
		if text, err := cluster.Get(fmt.Sprintf("http://10.77.0.%d:8080/", i)); err != nil || !strings.Contains(text, "hello from") {
			return fmt.Errorf("node n%d answers %q, %w", i, text, err)
		}
	}
	return nil
}

// ready waits until all three nodes take work.
func (m *machines) ready() {
	m.t.Helper()
	cluster.Eventually(m.t, 60*time.Second, "three nodes are ready", func() error {
		text, code := m.schedctl("m3", "ops", "node", "ls")
		if code != 0 || strings.Count(text, " ready ") != 3 {
			return fmt.Errorf("exit code %d\n%s", code, text)
		}
		return nil
	})
}

// TestThreeMachines: what the README says of three machines, with certificates
// and a Redis that wants a password: who may do what, and what becomes of it
// when certificates end.
func TestThreeMachines(t *testing.T) {
	if !inBox(t) {
		return
	}
	m := startMachines(t)
	if out, err := exec.Command(cluster.Bin("schedctl"), "ca", "init", "--ca-dir", m.path("ca")).CombinedOutput(); err != nil {
		t.Fatalf("schedctl ca init: %v\n%s", err, out)
	}
	for who, out := range map[string]string{"broadcaster/b1": "b1", "user/alice": "alice", "user/bob": "bob", "operator/ops": "ops"} {
		m.issue("ca", who, out)
	}
	m.start("m1", "redis", "redis-server", "--bind", centre, "--requirepass", "s3cret", "--save", "", "--appendonly", "no", "--dir", m.dir)
	end := m.broadcaster(m.path("ca"))
	for i := 1; i <= 3; i++ {
		for _, role := range []string{"agent", "hostinfo"} {
			flags := []string{}
			if i == 2 && role == "agent" {
				flags = []string{"--for", shortLife.String()}
			}
			m.issue("ca", fmt.Sprintf("%s/n%d", role, i), fmt.Sprintf("%s-n%d", role, i), flags...)
			m.start(fmt.Sprintf("m%d", i), role+"d", cluster.Bin(role+"d"), m.nodeFlags(role, i)...)
		}
	}
	m.ready()
	m.must("alice", "image", "push", "hello:latest", "--binary", cluster.Bin("hello"), "--expose", "8080")
	m.must("alice", "submit", "../../examples/hello/app.yaml")
	cluster.Eventually(t, 20*time.Second, "the app answers on every node", m.answers)

	t.Run("roles", m.testRoles)
	t.Run("strangers", m.testStrangers)
	t.Run("second daemon", m.testSecondDaemon)
	t.Run("revoked", m.testRevoked)
	t.Run("renewal", func(t *testing.T) {
		m.t = t
		end = m.testRenewal(end)
	})
	t.Run("end", func(t *testing.T) {
		m.t = t
		m.testEnd(end)
	})
}

// testRoles: what others own is out of a user's reach, and so is what only
// operators may do; an operator may.
func (m *machines) testRoles(t *testing.T) {
	m.t = t
	m.refused("user/bob may not touch", "bob", "rm", "alice/hello")
	m.refused("user/bob may not touch", "bob", "submit", "../../examples/hello/app.yaml", "--owner", "alice")
	m.refused("user/bob may not touch", "bob", "image", "push", "hello:latest", "--owner", "alice", "--binary", cluster.Bin("hello"))
	m.refused("user/bob may not touch", "bob", "explain", "alice/hello/web/1")
	m.refused("may not call node_change", "bob", "node", "give-up", "n1")
	if text := m.must("bob", "--json", "ps"); strings.Contains(text, "alice") {
		t.Errorf("bob sees alice's:\n%s", text)
	}
	if text := m.must("ops", "--json", "ps", "--all"); !strings.Contains(text, "alice/hello/web/1") {
		t.Errorf("an operator does not see alice's:\n%s", text)
	}
	if text, code := m.schedctl("m1", "no-certificate", "--endpoint", "ipc:///run/longshore/broadcaster.sock", "image", "push", "hello:latest", "--owner", "carol", "--binary", cluster.Bin("hello")); code != 0 {
		t.Errorf("schedctl image push by the broadcaster's socket: %s", text)
	}
	link := m.link(t, "agent-n2")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for method, arg := range map[string]any{
		"register": placement.Register{V: placement.Format, Node: "n1"},
		"beat":     placement.Beat{Node: "n1", Role: placement.RoleAgent},
		"submit":   placement.App{Owner: "alice"},
		"report":   placement.Report{V: placement.Format, Node: "n2"},
	} {
		if err := link.Call(ctx, method, nil, arg); err == nil || !strings.Contains(err.Error(), "may not") {
			t.Errorf("the agent of n2 calls %s for another: %v", method, err)
		}
	}
}

// testSecondDaemon: one directory is one daemon's.
func (m *machines) testSecondDaemon(t *testing.T) {
	out, err := on("m3", cluster.Bin("agentd"), m.nodeFlags("agent", 3)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another daemon works with") {
		t.Errorf("a second agentd: %v\n%s", err, out)
	}
}
