package dockerd_test

import (
	"context"
	"testing"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

func TestWatch(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	ctx, cancel := context.WithCancel(n.ctx())
	news := make(chan dockerd.Event, 100)
	ended := make(chan error, 1)
	go func() { ended <- dockerd.Observe(n.cfg).Watch(ctx, func(e dockerd.Event) { news <- e }) }()
	next := func() dockerd.Event {
		t.Helper()
		select {
		case e := <-news:
			return e
		case <-time.After(20 * time.Second):
			t.Fatal("no event within 20 s")
			return dockerd.Event{}
		}
	}

	image, job := m.image(t, "alice/hello", 0), id("alice", "job")
	n.ok(n.host.Ensure(n.ctx(), "alice")) // comes after the watch began
	if e := next(); !e.Resync || e.Owner != "alice" {
		t.Fatalf("first event: %+v", e)
	}
	n.launch(n.spec(job, image, "exit", "5"))
	for _, want := range []placement.CopyState{placement.CopyCreated, placement.CopyRunning, placement.CopyExited} {
		e := next()
		if e.Copy.State != want || e.Copy.ID != job || e.Copy.Epoch != epoch1 || e.Owner != "alice" {
			t.Fatalf("event %+v, want %s", e, want)
		}
		if want == placement.CopyExited && e.Copy.Exit != 5 {
			t.Fatalf("exit code: %+v", e)
		}
	}
	n.eventually("the listing knows it too", func() bool { copies, _ := n.list(); return copies[job].State == placement.CopyExited })
	n.expect(job, placement.CopyExited, 5)
	n.ok(n.host.Remove(n.ctx(), "alice", job, epoch1, 0))
	if e := next(); e.Copy.State != placement.CopyGone {
		t.Fatalf("event %+v, want gone", e)
	}

	n.kill(n.daemonPID("alice"))
	for range 2 { // broke, connected
		if e := next(); !e.Resync {
			t.Fatalf("after kill -9: %+v", e)
		}
	}
	cancel()
	n.ok(<-ended)
}
