package dockerd_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

func TestNames(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9]{12}$`)
	seen := map[string]bool{}
	for _, parts := range [][]string{{"c", "n", "alice"}, {"c", "n", "Alice"}, {"c", "na", "lice"}, {"cn", "alice"}, {"c", "n"}, {""}, {}} {
		id := dockerd.ShortID(parts...)
		if !form.MatchString(id) || seen[id] || id != dockerd.ShortID(parts...) {
			t.Errorf("id of %q: %q", parts, id)
		}
		seen[id] = true
	}
	for _, c := range []struct {
		systemd                bool
		parent, path, nodePath string
	}{
		{false, "/sched/n1/o1", "sched/n1/o1", "sched/n1"},
		{true, "sched-n1-o1.slice", "sched.slice/sched-n1.slice/sched-n1-o1.slice", "sched.slice/sched-n1.slice"},
	} {
		if got := dockerd.CgroupParent(c.systemd, "n1", "o1"); got != c.parent {
			t.Errorf("parent %q", got)
		}
		if got := dockerd.CgroupPath(c.systemd, "n1", "o1"); got != c.path {
			t.Errorf("path %q", got)
		}
		if got := dockerd.CgroupPath(c.systemd, "n1", ""); got != c.nodePath {
			t.Errorf("path of node %q", got)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n, most := range []int{200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		if got := dockerd.Backoff(n, 1); got != time.Duration(most)*time.Millisecond {
			t.Errorf("Backoff(%d, 1) = %s", n, got)
		}
	}
	if dockerd.Backoff(1000, 0.5) != 5*time.Second || dockerd.Backoff(3, 0) != 0 {
		t.Error("jitter does not scale")
	}
}

func TestPickAddress(t *testing.T) {
	for _, subnet := range []string{"10.9.8.0/24", "10.9.8.64/26", "10.9.8.16/28"} {
		p := netip.MustParsePrefix(subnet)
		u := dockerd.UserNet{Subnet: p, Gateway: p.Addr().Next(), NetContainer: p.Addr().Next().Next()}
		taken := map[netip.Addr]bool{}
		total := 1 << (32 - p.Bits())
		for i := range total*3/4 - 3 { // without the subnet's own address, the gateway's and the net container's
			a := dockerd.PickAddress(u, placement.ID(fmt.Sprint(i)), taken)
			if !p.Contains(a) || taken[a] || a == u.Gateway || a == u.NetContainer || a == p.Addr() {
				t.Fatalf("%s: %d-th address is %s", subnet, i, a)
			}
			if a != dockerd.PickAddress(u, placement.ID(fmt.Sprint(i)), taken) {
				t.Fatal("not the same again")
			}
			taken[a] = true
		}
		if a := dockerd.PickAddress(u, "one more", taken); a.IsValid() {
			t.Errorf("%s is full, but %s was free", subnet, a)
		}
	}
}

func TestLimits(t *testing.T) {
	type r = placement.Resources
	for _, c := range []struct {
		needs, limits, given       r
		nano, memory, shares, soft int64
	}{
		{nano: 0, memory: 0, shares: 0},
		{needs: r{CPU: 250, Memory: 1 << 30}, shares: 256, soft: 1 << 30}, // a reservation is no cap
		{needs: r{CPU: 250, Memory: 1 << 30}, limits: r{CPU: 1500, Memory: 2 << 30}, nano: 1500e6, memory: 2 << 30, shares: 256, soft: 1 << 30},
		{limits: r{CPU: 8000, Memory: 1}, nano: 2000e6, memory: 6 << 20},                       // what Docker would refuse
		{needs: r{CPU: 1, Memory: 1}, limits: r{CPU: 1}, nano: 10e6, shares: 2, soft: 6 << 20}, // what the kernel would refuse
		{given: r{CPU: 100, Memory: 7 << 20}, shares: 102, soft: 7 << 20},
		{needs: r{Memory: 1 << 30}, limits: r{Memory: 1 << 20}, memory: 6 << 20, soft: 6 << 20},
	} {
		s := dockerd.Spec{Request: placement.Request{Needs: c.needs, Limits: c.limits}, Needs: c.given}
		got := s.Limits(2)
		if got.NanoCPUs != c.nano || got.Memory != c.memory || got.MemorySwap != c.memory || got.CPUShares != c.shares || got.MemoryReservation != c.soft {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestReadings(t *testing.T) {
	for status, want := range map[string]int{"Exited (137) 3 seconds ago": 137, "Exited (0) Less than a second ago": 0, "Up 2 minutes": 0, "Created": 0, "Dead": 0, "": 0} {
		if got := dockerd.ExitCode(status); got != want {
			t.Errorf("%q: %d", status, got)
		}
	}
	mounts := `22 1 254:0 / / rw - ext4 /dev/vda rw
40 22 254:0 /s /tmp/ls1/s/daemons/a/g rw - ext4 /dev/vda rw
41 40 0:40 / /tmp/ls1/s/daemons/a/g/overlay2/x/merged rw - overlay overlay rw
42 22 0:41 net:[4026532] /tmp/ls1/r/n/a/x/netns/1 rw - nsfs nsfs rw
43 22 0:41 / /tmp/ls1/r/n/ab rw - tmpfs none rw
44 22 0:41 / /tmp/ls1/r/n/a/with\040space rw - tmpfs none rw
`
	got := dockerd.MountsBelow([]byte(mounts), "/tmp/ls1/s/daemons/a", "/tmp/ls1/r/n/a")
	want := []string{"/tmp/ls1/s/daemons/a/g", "/tmp/ls1/s/daemons/a/g/overlay2/x/merged", "/tmp/ls1/r/n/a/x/netns/1", "/tmp/ls1/r/n/a/with space"}
	if !slices.Equal(got, want) {
		t.Errorf("mounts: %q", got)
	}
	for line, want := range map[string]string{
		"/usr/sbin/dockerd --exec-root /r/n/a/x -H unix:///r/n/a/d.sock":                           "dockerd",
		"containerd --config /r/n/a/x/containerd/containerd.toml --log-level warn":                 "containerd",
		"/usr/bin/containerd-shim-runc-v2 -namespace moby -id 1 -address /r/n/a/x/containerd/c.sk": "shim",
		"/usr/sbin/dockerd --exec-root /r/n/ab/x":                                                  "",
		"tail -f /r/n/a/x/log": "",
		"dockerd":              "",
	} {
		if got := dockerd.KindOf(strings.Fields(line), "/r/n/a/x"); got != want {
			t.Errorf("%q is %q", line, got)
		}
	}
	if env := dockerd.DaemonEnv([]string{"PATH=/bin", "NOTIFY_SOCKET=/run/x", "LISTEN_FDS=1"}); !slices.Equal(env, []string{"PATH=/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}) {
		t.Errorf("environment: %q", env)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := dockerd.Config{Cluster: "c", Node: "n1", StateDir: "/var/lib/longshore", RunDir: "/run/longshore"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*dockerd.Config){
		"no cluster":     func(c *dockerd.Config) { c.Cluster = "" },
		"bad node":       func(c *dockerd.Config) { c.Node = "../x" },
		"relative":       func(c *dockerd.Config) { c.StateDir = "var" },
		"comma":          func(c *dockerd.Config) { c.StateDir = "/var/a,b" },
		"long exec-root": func(c *dockerd.Config) { c.RunDir = "/" + strings.Repeat("r", 43) },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(); err == nil {
			t.Error(name, "is accepted")
		}
	}
	good.RunDir = "/" + strings.Repeat("r", 42)
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestCgroupUsed(t *testing.T) {
	for _, c := range []struct {
		tree   string
		memory int64
		cpu    time.Duration
	}{
		{"v1", 64016384 + 3002368 + 532480, 91302432 * time.Nanosecond},
		{"v2", 117637120 + 41943040 + 2457600, 1234567 * time.Microsecond},
		{"v2old", 117637120 + 41943040 + 800000 + 65536 + 450560 + 2048, 1234567 * time.Microsecond},
		{"none", 0, 0},
	} {
		memory, cpu, err := dockerd.CgroupUsed(os.DirFS(filepath.Join("testdata/cgroup", c.tree)), "sched/n1/o1")
		if err != nil || memory != c.memory || cpu != c.cpu {
			t.Errorf("%s: %d bytes, %s, %v", c.tree, memory, cpu, err)
		}
	}
}

// systemctl is a stub that keeps units as files.
const systemctl = `#!/bin/sh
echo "$*" >> %[1]s/calls
case $1 in
start) touch %[1]s/$2 ;;
stop) rm -f %[1]s/$2 ;;
show) if [ -e %[1]s/$2 ]; then echo active; else echo inactive; fi ;;
*) echo "no such verb"; exit 1 ;;
esac
`

func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	stub := filepath.Join(dir, "systemctl")
	if err := os.WriteFile(stub, fmt.Appendf(nil, systemctl, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	m := dockerd.Systemd{Systemctl: stub, EnvDir: filepath.Join(dir, "env")}
	u := dockerd.Unit{ID: "abc", Argv: []string{"dockerd", "--host", "unix:///x"}}
	running := func(want bool) {
		t.Helper()
		if got, err := m.Running(t.Context(), u); err != nil || got != want {
			t.Errorf("running: %v, %v", got, err)
		}
	}
	running(false)
	for range 2 {
		if err := m.Start(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	running(true)
	if env, _ := os.ReadFile(filepath.Join(dir, "env", "abc.env")); string(env) != "DOCKERD_ARGS=--host unix:///x\n" {
		t.Errorf("environment: %q", env)
	}
	if err := m.Stop(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	running(false)
	if calls, _ := os.ReadFile(filepath.Join(dir, "calls")); !strings.Contains(string(calls), "start longshore-dockerd@abc.service\n") {
		t.Errorf("calls: %s", calls)
	}
	u.Argv = append(u.Argv, "two words")
	if err := m.Start(t.Context(), u); err == nil {
		t.Error("an argument that a unit would split was accepted")
	}
}

func TestUnitFileIsValid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "longshore-dockerd@.service")
	if err := os.WriteFile(file, []byte(dockerd.UnitFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
