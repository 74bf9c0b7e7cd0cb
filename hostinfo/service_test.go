package hostinfo_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/hostinfo"
	"longshore/internal/placement"
	"longshore/rpc"
)

// TestOverLinks has the two halves talk over rpc: Docker event to ledger, stop
// order back, and silence when the node's link is cut.
func TestOverLinks(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		writeOp(t, dir, 3)
		ctx, cancel := context.WithCancel(t.Context())
		l, a, net := newLedger("n1", "n2", "n3"), &agents{}, rpc.Memory()
		c := newCollector(t, l, a)
		d := newDocker(copyOf(web1, placement.CopyRunning))
		d.events, d.breaks = make(chan hostinfo.Event), make(chan error)
		w := newWatcher(t, d, dir)

		listener, err := net.Listen(ctx, "broadcaster")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		run := func(name string, f func() error) {
			wg.Go(func() {
				if err := f(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		run("collector", func() error { return c.Run(ctx) })
		run("watcher", func() error { return w.Run(ctx) })
		run("serve", func() error { return rpc.Serve(ctx, listener, rpc.Config{Methods: c.Methods()}) })
		run("keep", func() error {
			return rpc.Keep(ctx, net, "broadcaster", rpc.Config{Identity: "n1", Methods: w.Methods(), Rand: rand.New(rand.NewPCG(5, 6))}, w.Up)
		})

		time.Sleep(12 * time.Second)
		l.mu.Lock()
		first := l.reports
		l.mu.Unlock()
		if len(first) < 2 {
			t.Fatalf("%d reports in 12 s", len(first))
		}
		for _, r := range first { // some came as a digest
			if r.Same != "" || !r.Full || len(r.Copies) != 1 || r.Copies[0] != copyOf(web1, placement.CopyRunning) || r.At == nil || *r.At != (placement.SessionOp{Session: 7, Op: 3}) || len(r.Daemons) != 1 || r.Daemons[0].Root != "r" {
				t.Fatalf("the ledger got %+v", r)
			}
		}
		l.mu.Lock()
		l.answer = func(context.Context, placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
			return placement.ReportAnswer{}, []placement.StopOrder{{ID: web1}}, nil
		}
		l.mu.Unlock()
		d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, placement.CopyRunning)}
		synctest.Wait()
		if got := a.orders(); len(got) != 1 || got[0] != "n1 "+string(web1) {
			t.Errorf("orders %v", got)
		}
		if s := status(t, c, "n1"); s.State != placement.NodeReady || !s.Hostinfo || s.Agent || s.Room.Copies != 1 {
			t.Errorf("status %+v", s)
		}

		net.Dials(func(string, string) (time.Duration, error) { return 0, errors.New("unplugged") })
		net.Messages(func(rpc.Hop) rpc.Fate { return rpc.Fate{Cut: true} })
		time.Sleep(16 * time.Second)
		if s := status(t, c, "n1"); s.State != placement.NodeSuspect || s.Hostinfo {
			t.Errorf("16 s after its link was cut: %+v", s)
		}
		net.Dials(nil)
		net.Messages(nil)
		time.Sleep(15 * time.Second)
		l.mu.Lock()
		lastReport := l.reports[len(l.reports)-1]
		l.mu.Unlock()
		if s := status(t, c, "n1"); s.State != placement.NodeSuspect || !s.Hostinfo || lastReport.Link < 2 {
			t.Errorf("back, on link %d: %+v (agentd was never heard)", lastReport.Link, s)
		}
		cancel()
		wg.Wait()
	})
}

func TestRefusedLinkKeepsItsKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		net := rpc.Memory()
		c := newCollector(t, newLedger("n2"), &agents{})
		listener, err := net.Listen(ctx, "broadcaster")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = rpc.Serve(ctx, listener, rpc.Config{Methods: c.Methods()}) })
		link, err := rpc.Dial(ctx, net, "broadcaster", rpc.Config{})
		if err != nil {
			t.Fatal(err)
		}
		err = newWatcher(t, newDocker(), t.TempDir()).Up(ctx, link)
		var e *placement.Error
		if !errors.As(err, &e) || e.Kind != placement.KindRegister || e.What != "the agent of n1 has not registered" {
			t.Errorf("a node whose agent never registered got %v", err)
		}
		_ = link.Close()
		cancel()
		wg.Wait()
	})
}

func TestLocalMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		net := rpc.Memory()
		w := newWatcher(t, newDocker(copyOf(web1, placement.CopyRunning)), t.TempDir())
		listener, err := net.Listen(ctx, "node")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = w.Run(ctx) })
		wg.Go(func() { _ = rpc.Serve(ctx, listener, rpc.Config{Methods: w.Methods()}) })
		time.Sleep(time.Second)
		link, err := rpc.Dial(ctx, net, "node", rpc.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var copies []placement.Copy
		var daemons []placement.DaemonListing
		var room placement.Room
		var info hostinfo.Info
		for method, into := range map[string]any{"copies": &copies, "daemons": &daemons, "room": &room, "info": &info} {
			if err := link.Call(ctx, method, into); err != nil {
				t.Fatalf("%s: %v", method, err)
			}
		}
		want := placement.Room{
			Capacity: placement.Resources{CPU: 4000, Memory: 1 << 30, Disk: 10 << 30},
			Promised: placement.Resources{CPU: 500, Memory: 64 << 20},
			Used:     placement.Resources{CPU: 100, Memory: 10 << 20, Disk: 1 << 20}, Copies: 1,
		}
		if diff := cmp.Diff(want, room); diff != "" {
			t.Errorf("room (-want +got):\n%s", diff)
		}
		if len(copies) != 1 || copies[0].ID != web1 || len(daemons) != 1 || daemons[0].Owner != "alice" {
			t.Errorf("copies %+v, daemons %+v", copies, daemons)
		}
		if info.Node != "n1" || info.Figures.Cores != 4 || info.Listed != -1 || len(info.Links) != 0 {
			t.Errorf("info %+v", info)
		}
		_ = link.Close()
		cancel()
		wg.Wait()
	})
}

// roomWith is what a watcher shows for figures and copies.
func roomWith(t *testing.T, f hostinfo.Figures, copies ...placement.Copy) placement.Room {
	t.Helper()
	var room placement.Room
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDocker(copies...)
		d.events, d.breaks = make(chan hostinfo.Event), make(chan error)
		w, err := hostinfo.NewWatcher(hostinfo.WatcherConfig{
			Node: "n1", OpDir: "/nowhere", Capacity: placement.Resources{CPU: 4000, Memory: 8 << 30, Disk: 100 << 30},
			Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)),
		}, d, host{f})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(ctx) }()
		time.Sleep(time.Second)
		if room, err = w.Room(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
	})
	return room
}

func TestRoomHasAFloor(t *testing.T) {
	plenty := hostinfo.Figures{Cores: 4, Memory: 10 << 30, MemoryAvailable: 5 << 30, Disk: 100 << 30, DiskFree: 90 << 30}
	big := copyOf(web1, placement.CopyCreated)
	big.Needs = placement.Resources{CPU: 1000, Memory: 2 << 30, Disk: 10 << 30}
	for name, c := range map[string]struct {
		figures func(f *hostinfo.Figures)
		free    placement.Resources
	}{
		"plenty":           {func(*hostinfo.Figures) {}, placement.Resources{CPU: 3000, Memory: 6 << 30, Disk: 80<<30 + 1<<20}},
		"memory is low":    {func(f *hostinfo.Figures) { f.MemoryAvailable = 6 << 30 / 10 }, placement.Resources{CPU: 3000, Memory: 6 << 30, Disk: 80<<30 + 1<<20}},
		"memory is out":    {func(f *hostinfo.Figures) { f.MemoryAvailable = 100 << 20 }, placement.Resources{CPU: 3000, Disk: 80<<30 + 1<<20}},
		"disk is low":      {func(f *hostinfo.Figures) { f.DiskFree = 15 << 30 }, placement.Resources{CPU: 3000, Memory: 6 << 30, Disk: 5<<30 + 1<<20}},
		"disk is out":      {func(f *hostinfo.Figures) { f.DiskFree = 5 << 30 }, placement.Resources{CPU: 3000, Memory: 6 << 30}},
		"nothing is known": {func(f *hostinfo.Figures) { *f = hostinfo.Figures{} }, placement.Resources{CPU: 3000, Memory: 6 << 30, Disk: 90 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			f := plenty
			c.figures(&f)
			if got := roomWith(t, f, big).Free(); got != c.free {
				t.Errorf("free %+v, want %+v", got, c.free)
			}
		})
	}
}

func TestDaemonThatCannotBeListedKeepsItsPromises(t *testing.T) {
	d := newDocker(copyOf(web1, placement.CopyRunning))
	watch(t, d, t.TempDir(), func(s scene) {
		t, c := s.t, s.c
		firstReport(t, c)
		d.set(func(l *hostinfo.Listing) {
			*l = hostinfo.Listing{Daemons: []placement.DaemonListing{{Owner: "alice", Err: "connection refused"}}}
		})
		time.Sleep(20 * time.Second)
		for _, r := range c.reports() {
			if r.Room.Promised.CPU != 500 || r.Room.Copies != 1 {
				t.Fatalf("a mute daemon gives its room away: %+v", r.Room)
			}
		}
		d.set(func(l *hostinfo.Listing) { l.Daemons = []placement.DaemonListing{{Owner: "alice", OK: true}} })
		time.Sleep(6 * time.Second)
		if got := c.reports(); len(got) == 0 || got[len(got)-1].Room.Promised.CPU != 0 {
			t.Errorf("a listing that shows nothing: %+v", got)
		}
	})
}
