package dockerd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

func TestLifeOfACopy(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	image, web := m.image(t, "alice/hello", 1<<20), id("alice", "web")

	n.ok(n.host.Remove(n.ctx(), "alice", web, epoch1, 0)) // no daemon yet, and none is made
	if _, daemons := n.list(); len(daemons) != 0 {
		t.Fatalf("daemons before the first use: %v", daemons)
	}
	began := time.Now()
	n.ok(n.host.Ensure(n.ctx(), "alice"))
	t.Log("bring-up", time.Since(began))
	began = time.Now()
	n.ok(n.host.Ensure(n.ctx(), "alice"))
	if d := time.Since(began); d > 200*time.Millisecond {
		t.Errorf("Ensure of a ready daemon took %s", d)
	}

	n.ok(n.host.Pull(n.ctx(), "alice", image, func(done, total int64) { t.Logf("pulled %d of %d", done, total) }))
	n.ok(n.host.Pull(n.ctx(), "alice", image, nil))
	spec := n.spec(web, image)
	n.ok(n.host.Create(n.ctx(), spec))
	n.expect(web, placement.CopyCreated, 0)

	again := spec
	again.Epoch = epoch2
	var there *dockerd.ExistsError
	if err := n.host.Create(n.ctx(), again); !errors.Is(err, dockerd.ErrExists) || !errors.As(err, &there) || there.Epoch != epoch1 || there.State != placement.CopyCreated {
		t.Errorf("second create: %v", err)
	}
	n.ok(n.host.Start(n.ctx(), "alice", web))
	n.ok(n.host.Start(n.ctx(), "alice", web)) // runs already
	n.expect(web, placement.CopyRunning, 0)
	n.answers(web)
	n.checkContainer(spec)

	n.ok(n.host.Remove(n.ctx(), "alice", web, epoch2, 0)) // another epoch: not this one
	n.expect(web, placement.CopyRunning, 0)
	if err := n.host.Remove(n.ctx(), "alice", web, epoch1, 0); !errors.Is(err, dockerd.ErrRunning) {
		t.Errorf("remove without grace of a copy that runs: %v", err)
	}
	n.expect(web, placement.CopyRunning, 0)
	n.ok(n.host.Remove(n.ctx(), "alice", web, epoch1, time.Second))
	n.ok(n.host.Remove(n.ctx(), "alice", web, epoch1, time.Second))
	if copies, daemons := n.list(); len(copies) != 0 || !daemons["alice"].OK {
		t.Errorf("after remove: %v %v", copies, daemons)
	}
	if err := n.host.Start(n.ctx(), "alice", web); !errors.Is(err, dockerd.ErrRefused) {
		t.Errorf("start of nothing: %v", err)
	}
}

func (n *node) expect(id placement.ID, state placement.CopyState, exit int) {
	n.t.Helper()
	copies, _ := n.list()
	c, ok := copies[id]
	if !ok || c.State != state || c.Exit != exit || c.Epoch != epoch1 || c.Gen != 7 || c.Needs.Memory != 64<<20 || c.Digest == "" {
		n.t.Fatalf("%s is %+v (there: %v), want %s exit %d", id, c, ok, state, exit)
	}
}

func (n *node) checkContainer(s dockerd.Spec) {
	n.t.Helper()
	c, err := n.docker(s.ID.Owner()).ContainerInspect(n.ctx(), s.ID.ContainerName())
	n.ok(err)
	h := c.HostConfig
	if h.Memory != 64<<20 || h.NanoCPUs != 1_000_000_000 || !h.RestartPolicy.IsNone() || !h.NetworkMode.IsContainer() {
		n.t.Errorf("container: %+v", h)
	}
	if h.LogConfig.Config["max-size"] != "10m" {
		n.t.Errorf("log: %+v", h.LogConfig)
	}
}

func TestOwnersAreApart(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	image := m.image(t, "shared/hello", 0)
	var all sync.WaitGroup
	for _, owner := range []string{"alice", "bob"} {
		for range 3 { // several at once share one bring-up
			all.Go(func() {
				if err := n.host.Ensure(n.ctx(), owner); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	for _, owner := range []string{"alice", "bob"} {
		n.launch(n.spec(id(owner, "web"), image))
	}
	for _, owner := range []string{"alice", "bob"} {
		n.answers(id(owner, "web"))
	}
	_, daemons := n.list()
	if !daemons["alice"].OK || !daemons["bob"].OK || daemons["alice"].Root == daemons["bob"].Root || daemons["alice"].Root == "" {
		t.Errorf("daemons: %+v", daemons)
	}

	// A daemon that hangs says nothing of its copies, and delays nobody's.
	pid := n.daemonPID("alice")
	n.ok(syscall.Kill(pid, syscall.SIGSTOP))
	defer syscall.Kill(pid, syscall.SIGCONT)
	n.eventually("the daemon hangs", func() bool { _, daemons := n.list(); return !daemons["alice"].OK })
	began := time.Now()
	copies, daemons := n.list()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a listing with a hanging daemon took %s", took)
	}
	if d := daemons["alice"]; d.OK || d.Err == "" || len(copies) != 1 || !daemons["bob"].OK {
		t.Errorf("with alice's daemon stopped: %v %v", copies, daemons)
	}
	n.ok(n.host.Ensure(n.ctx(), "bob"))
	short, cancel := context.WithTimeout(n.ctx(), 200*time.Millisecond)
	defer cancel()
	if err := n.host.Start(short, "alice", id("alice", "web")); !errors.Is(err, dockerd.ErrUnknown) {
		t.Errorf("start without an answer: %v", err)
	}
}

func TestContainersOutliveDaemonAndHost(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web := id("alice", "web")
	n.launch(n.spec(web, m.image(t, "alice/hello", 0)))
	pid := n.containerPID("alice", web.ContainerName())

	for range 2 {
		before := n.daemonPID("alice")
		n.kill(before)
		n.eventually("dockerd is dead", func() bool { b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", before)); return len(b) == 0 })
		began := time.Now()
		n.ok(n.host.Ensure(n.ctx(), "alice"))
		t.Log("ready again after kill -9 in", time.Since(began))
		if n.daemonPID("alice") == before {
			t.Fatal("ready with the dead daemon")
		}
		n.expect(web, placement.CopyRunning, 0)
		if now := n.containerPID("alice", web.ContainerName()); now != pid {
			t.Fatalf("the container was %d, is %d", pid, now)
		}
	}
	n.answers(web)

	// Another process cannot supervise it meanwhile.
	second := dockerd.New(n.cfg, n.net)
	ctx, cancel := context.WithCancel(n.ctx())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	if err := second.Ensure(n.ctx(), "alice"); !errors.Is(err, dockerd.ErrNoDaemon) {
		t.Errorf("two hosts: %v", err)
	}
	if err := second.Destroy(n.ctx()); err == nil {
		t.Error("destroyed what another host supervises")
	}
	cancel()
	n.ok(<-ended)
	n.expect(web, placement.CopyRunning, 0)
}

func TestNextHostFindsEverything(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web, own, image := id("alice", "web"), id("alice", "own"), m.image(t, "alice/hello", 0)
	n.launch(n.spec(web, image))
	n.launch(withOwnNet(n.spec(own, image)))
	pid, daemon := n.containerPID("alice", web.ContainerName()), n.daemonPID("alice")
	addr, err := n.host.Address("alice", own)
	n.ok(err)
	n.answers(own)
	n.stop()

	n.host, n.stop = n.run()
	n.ok(n.host.Ensure(n.ctx(), "alice"))
	n.expect(web, placement.CopyRunning, 0)
	if n.containerPID("alice", web.ContainerName()) != pid || n.daemonPID("alice") != daemon {
		t.Error("daemon or container was started again")
	}
	if now, err := n.host.Address("alice", own); err != nil || now != addr {
		t.Errorf("address was %s, is %s (%v)", addr, now, err)
	}
}

func withOwnNet(s dockerd.Spec) dockerd.Spec {
	s.Request.Net = placement.NetReplica
	return s
}

func TestDeadNetContainerIsRepaired(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web, own := id("alice", "web"), id("alice", "own")
	image := m.image(t, "alice/hello", 0)
	n.launch(n.spec(web, image))
	n.launch(withOwnNet(n.spec(own, image)))
	n.answers(web)
	n.answers(own)
	exits := n.exits(n.host.Watch)

	for _, c := range []struct {
		net string
		of  placement.ID
	}{{"longshore-net", web}, {own.ContainerName() + ".net", own}} {
		before := n.containerPID("alice", c.of.ContainerName())
		began := time.Now()
		n.kill(n.containerPID("alice", c.net))
		n.eventually("the joined container is another one", func() bool {
			now := n.containerPID("alice", c.of.ContainerName())
			return now != before && now != 0
		})
		n.answers(c.of)
		t.Log("repaired in", time.Since(began))
	}
	if told := exits(); len(told) > 0 {
		t.Errorf("repairs were told as exits: %v", told)
	}
	n.expect(web, placement.CopyRunning, 0)
}

// Whoever removes a net container by hand cuts off what is joined to it: that
// is ended, and told, so that it can be placed anew.
func TestRemovedNetContainer(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web, image := id("alice", "web"), m.image(t, "alice/hello", 0)
	n.launch(n.spec(web, image))
	exits := n.exits(n.host.Watch)
	n.ok(n.docker("alice").ContainerRemove(n.ctx(), "longshore-net", container.RemoveOptions{Force: true}))
	n.eventually("the exit is told", func() bool { return len(exits()) == 1 })
	n.ok(n.host.Ensure(n.ctx(), "alice"))
	if err := n.host.Start(n.ctx(), "alice", web); !errors.Is(err, dockerd.ErrRefused) {
		t.Errorf("start into a net container that is no more: %v", err)
	}
	n.ok(n.host.Remove(n.ctx(), "alice", web, epoch1, 0))
	n.launch(n.spec(web, image))
	n.answers(web)
}

// A bridge that goes under a running daemon comes back with everything on it.
func TestRemovedBridge(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web := id("alice", "web")
	n.launch(n.spec(web, m.image(t, "alice/hello", 0)))
	n.ok(n.net.RemoveUser(n.ctx(), "alice"))
	n.eventually("the bridge is lost", func() bool { return n.says(web) == "" })
	n.answers(web)
}

// exits watches, and gives the exits seen so far.
func (n *node) exits(watch func(context.Context, func(dockerd.Event)) error) func() []placement.Copy {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	synced := make(chan bool, 100)
	ended := make(chan error, 1)
	var mu sync.Mutex
	var seen []placement.Copy
	go func() {
		ended <- watch(ctx, func(e dockerd.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Resync {
				synced <- true
			} else if e.Copy.State == placement.CopyExited {
				seen = append(seen, e.Copy)
			}
		})
	}()
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
	<-synced
	return func() []placement.Copy {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func TestReplicaHasItsOwnNet(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	image := m.image(t, "alice/hello", 0)
	ids := []placement.ID{id("alice", "web"), id("alice", "a"), id("alice", "b")}
	n.launch(n.spec(ids[0], image))
	n.launch(withOwnNet(n.spec(ids[1], image))) // all listen on the same port
	n.launch(withOwnNet(n.spec(ids[2], image)))
	for _, id := range ids {
		n.answers(id)
	}
	if err := n.host.Create(n.ctx(), withOwnNet(n.spec(ids[1], image))); !errors.Is(err, dockerd.ErrExists) {
		t.Errorf("second create: %v", err)
	}
	n.answers(ids[1])
	n.ok(n.host.Remove(n.ctx(), "alice", ids[1], epoch1, time.Second))
	all, err := n.docker("alice").ContainerList(n.ctx(), container.ListOptions{All: true})
	n.ok(err)
	if len(all) != 4 { // two, and the net containers of both
		t.Errorf("%d containers are left", len(all))
	}
	n.answers(ids[2])
	n.answers(ids[0])
}

func TestBrokenDaemonIsNotEmpty(t *testing.T) {
	n := newNode(t, func(c *dockerd.Config) { c.Dockerd = "/bin/false" })
	err := n.host.Ensure(n.ctx(), "alice")
	if !errors.Is(err, dockerd.ErrNoDaemon) {
		t.Fatalf("ensure: %v", err)
	}
	t.Log(err)
	copies, daemons := n.list()
	if d, ok := daemons["alice"]; !ok || d.OK || d.Err == "" || len(copies) != 0 {
		t.Errorf("list: %v %v", copies, daemons)
	}
	if _, err := n.host.Address("alice", id("alice", "web")); !errors.Is(err, dockerd.ErrNoDaemon) {
		t.Errorf("address: %v", err)
	}
}
