package dockerd_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

var built struct{ dir, pause, app string }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("/tmp", "ls")
	if err != nil {
		panic(err)
	}
	built.dir, built.pause, built.app = dir, filepath.Join(dir, "pause"), filepath.Join(dir, "app")
	for out, pkg := range map[string]string{built.pause: "longshore/cmd/pause", built.app: "./testdata/app"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("build %s: %v: %s", pkg, err, text))
		}
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// bridges is a Network made with ip(8).
type bridges struct {
	prefix string
	first  int // third byte of the first subnet
}

func (b bridges) EnsureUser(ctx context.Context, owner string) (dockerd.UserNet, error) {
	sum := sha256.Sum256([]byte(b.prefix + owner))
	n := (b.first + int(owner[0])) % 250
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n), last}) }
	u := dockerd.UserNet{
		Bridge: "lsd" + hex.EncodeToString(sum[:5]),
		Subnet: netip.PrefixFrom(at(0), 24), Gateway: at(1), NetContainer: at(2),
	}
	if _, err := os.Stat("/sys/class/net/" + u.Bridge); err != nil {
		if err := ip("link", "add", u.Bridge, "type", "bridge"); err != nil {
			return u, err
		}
	}
	if err := ip("addr", "replace", u.Gateway.String()+"/24", "dev", u.Bridge); err != nil {
		return u, err
	}
	u.Idle = u.Bridge + "i"
	if !exists("/sys/class/net/" + u.Idle) {
		if err := ip("link", "add", u.Idle, "type", "bridge"); err != nil {
			return u, err
		}
	}
	if err := ip("addr", "replace", "169.254.252.1/30", "dev", u.Idle); err != nil {
		return u, err
	}
	return u, ip("link", "set", u.Bridge, "up")
}

func (b bridges) RemoveUser(ctx context.Context, owner string) error {
	sum := sha256.Sum256([]byte(b.prefix + owner))
	for _, name := range []string{"lsd" + hex.EncodeToString(sum[:5]), "lsd" + hex.EncodeToString(sum[:5]) + "i"} {
		if exists("/sys/class/net/" + name) {
			if err := ip("link", "del", name); err != nil {
				return err
			}
		}
	}
	return nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// node is one test's node: directories, configuration, mirror and network.
type node struct {
	t    *testing.T
	cfg  dockerd.Config
	net  dockerd.Network
	host *dockerd.Host
	stop func() // of host
}

var nodes atomic.Int32

// newNode makes a node whose Host runs, and which is destroyed at the end of
// the test, leaving nothing.
func newNode(t *testing.T, change func(*dockerd.Config)) *node {
	t.Helper()
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "ls")
	if err != nil {
		t.Fatal(err)
	}
	number := int(nodes.Add(1))
	cluster := fmt.Sprintf("test%d-%d", os.Getpid(), number)
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	n := &node{t: t, net: bridges{cluster, os.Getpid() + 3*number}, cfg: dockerd.Config{
		Cluster: cluster, Node: "n1", StateDir: dir + "/s", RunDir: dir + "/r",
		PausePath: built.pause, Mirror: "127.0.0.1:1", RemoveState: true, Manager: &dockerd.Detached{},
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level})),
	}}
	if change != nil {
		change(&n.cfg)
	}
	t.Cleanup(func() {
		n.gone()
		os.RemoveAll(dir)
	})
	n.host, n.stop = n.run()
	return n
}

// run starts a Host, which stops at the end of the test before the node is
// destroyed, or when it is told to.
func (n *node) run() (*dockerd.Host, func()) {
	h := dockerd.New(n.cfg, n.net)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(stop)
	return h, stop
}

// gone destroys the node with a Host of its own, and checks that nothing is left.
func (n *node) gone() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	defer func() { n.t.Log("destroyed in", time.Since(began)) }()
	if err := dockerd.New(n.cfg, n.net).Destroy(ctx); err != nil {
		n.t.Error("destroy:", err)
	}
	n.checkNothingLeft()
}

func (n *node) checkNothingLeft() {
	n.t.Helper()
	base := filepath.Dir(n.cfg.StateDir)
	if procs := processes(base); len(procs) > 0 {
		n.t.Errorf("processes are left: %q", procs)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), base) {
		n.t.Error("mounts are left")
	}
	id := dockerd.ShortID(n.cfg.Cluster, "n1")
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/sched/" + id); len(left) > 0 {
		n.t.Errorf("cgroups are left: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(n.cfg.RunDir, "*")); len(left) > 0 {
		n.t.Errorf("left in RunDir: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "daemons", "*")); n.cfg.RemoveState && len(left) > 0 {
		n.t.Errorf("left in StateDir: %q", left)
	}
}

// processes lists those that name dir in their arguments.
func processes(dir string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), dir) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	n.t.Cleanup(cancel)
	return ctx
}

func (n *node) ok(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// docker is a client of an owner's daemon.
func (n *node) docker(owner string) *client.Client {
	n.t.Helper()
	_, _, _, _, sock, _ := n.cfg.Places(owner)
	c, err := client.NewClientWithOpts(client.WithHost("unix://"+sock), client.WithAPIVersionNegotiation())
	n.ok(err)
	n.t.Cleanup(func() { c.Close() })
	return c
}

func (n *node) daemonPID(owner string) int {
	n.t.Helper()
	_, _, _, _, _, file := n.cfg.Places(owner)
	b, err := os.ReadFile(file)
	n.ok(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	n.ok(err)
	return pid
}

func (n *node) kill(pid int) {
	n.t.Helper()
	n.ok(syscall.Kill(pid, syscall.SIGKILL))
}

func (n *node) containerPID(owner, name string) int {
	n.t.Helper()
	c, err := n.docker(owner).ContainerInspect(n.ctx(), name)
	n.ok(err)
	return c.State.Pid
}

const (
	epoch1 = placement.Epoch("00000000000100000001")
	epoch2 = placement.Epoch("00000000000100000002")
)

func id(owner, service string) placement.ID {
	return placement.NewReplica(owner, "shop", service, 1).Placement("00000000000100000009")
}

func (n *node) spec(id placement.ID, image string, command ...string) dockerd.Spec {
	return dockerd.Spec{Cluster: n.cfg.Cluster, ID: id, Epoch: epoch1, Gen: 7, Request: placement.Request{
		V: placement.Format, Image: image, Command: command, Env: []string{"SAY=" + string(id)},
		Needs: placement.Resources{CPU: 100, Memory: 64 << 20, Disk: 1 << 20}, Limits: placement.Resources{CPU: 1000, Memory: 64 << 20},
	}}
}

// launch pulls, creates and starts.
func (n *node) launch(s dockerd.Spec) {
	n.t.Helper()
	n.ok(n.host.Pull(n.ctx(), s.ID.Owner(), s.Request.Image, nil))
	n.ok(n.host.Create(n.ctx(), s))
	n.ok(n.host.Start(n.ctx(), s.ID.Owner(), s.ID))
}

// says reads what listens on port 8080 of the placement's address; "" if
// nothing does.
func (n *node) says(id placement.ID) string {
	addr, err := n.host.Address(id.Owner(), id)
	if err != nil {
		return ""
	}
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, 8080).String(), time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	b, _ := io.ReadAll(c)
	return string(b)
}

// eventually fails the test unless f becomes true within 20 s.
func (n *node) eventually(what string, f func() bool) {
	n.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !f(); <-tick.C {
		if time.Now().After(deadline) {
			n.t.Fatal("not within 20 s: " + what)
		}
	}
}

func (n *node) answers(id placement.ID) {
	n.t.Helper()
	n.eventually(string(id)+" answers", func() bool { return n.says(id) == string(id) })
}

// list gives the states of the copies by ID, and of the daemons by owner.
func (n *node) list() (copies map[placement.ID]placement.Copy, daemons map[string]placement.DaemonListing) {
	n.t.Helper()
	l, err := n.host.List(n.ctx())
	n.ok(err)
	copies, daemons = map[placement.ID]placement.Copy{}, map[string]placement.DaemonListing{}
	for _, c := range l.Copies {
		copies[c.ID] = c
	}
	for _, d := range l.Daemons {
		daemons[d.Owner] = d
	}
	return copies, daemons
}
