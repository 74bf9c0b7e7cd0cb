package hostinfo_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/hostinfo"
	"longshore/internal/opfile"
	"longshore/internal/placement"
)

// docker is a node's daemons that only remember.
type docker struct {
	events chan hostinfo.Event
	breaks chan error

	mu      sync.Mutex
	listing hostinfo.Listing
	during  func(ctx context.Context) error // runs inside each List
	lists   int
}

func newDocker(copies ...placement.Copy) *docker {
	return &docker{
		listing: hostinfo.Listing{Daemons: []placement.DaemonListing{{Owner: "alice", OK: true, Root: "r"}}, Copies: copies},
	}
}

func (d *docker) List(ctx context.Context) (hostinfo.Listing, error) {
	d.mu.Lock()
	d.lists++
	l, during := d.listing, d.during
	l.Copies = slices.Clone(l.Copies)
	if d.lists%2 == 0 { // the order of a listing is Docker's whim
		slices.Reverse(l.Copies)
	}
	d.mu.Unlock()
	if during != nil {
		return l, during(ctx)
	}
	return l, nil
}

func (d *docker) set(f func(l *hostinfo.Listing)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.listing)
}

func (d *docker) Watch(ctx context.Context, f func(hostinfo.Event)) error {
	f(hostinfo.Event{Resync: true})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.breaks:
			return err
		case e := <-d.events:
			f(e)
		}
	}
}

func (d *docker) Used(context.Context) (placement.Resources, error) {
	return placement.Resources{CPU: 100, Memory: 10 << 20, Disk: 1 << 20}, nil
}

func (d *docker) Measure(context.Context) error { return nil }

type host struct{ f hostinfo.Figures }

func (h host) Figures(context.Context) (hostinfo.Figures, error) { return h.f, nil }

// central is a broadcaster that remembers what it was told and when.
type central struct {
	start time.Time

	mu     sync.Mutex
	link   uint64
	got    []told
	beats  []time.Duration
	answer func(ctx context.Context, r placement.Report) (placement.ReportAnswer, error)
}

type told struct {
	placement.Report
	after time.Duration
}

func newCentral() *central { return &central{start: time.Now()} }

func (c *central) Link(_ context.Context, h placement.Hello) (placement.Link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link++
	return placement.Link{Cluster: "c1", Link: c.link}, nil
}

func (c *central) Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, error) {
	c.mu.Lock()
	c.got = append(c.got, told{r, time.Since(c.start)})
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		return answer(ctx, r)
	}
	return placement.ReportAnswer{}, nil
}

func (c *central) Beat(context.Context, placement.Beat) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats = append(c.beats, time.Since(c.start))
	return nil
}

func (c *central) answers(f func(ctx context.Context, r placement.Report) (placement.ReportAnswer, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = f
}

// reports takes what was told since the last call, once all is quiet.
func (c *central) reports() []told {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

const web1 = placement.ID("alice/shop/web/1.00000001aaaa00000001")

func copyOf(id placement.ID, state placement.CopyState) placement.Copy {
	return placement.Copy{ID: id, Epoch: "00000001aaaa00000002", Gen: 1, Digest: "sha256:d", State: state, Needs: placement.Resources{CPU: 500, Memory: 64 << 20}}
}

func writeOp(t *testing.T, dir string, op uint64) {
	t.Helper()
	if err := opfile.Write(dir, opfile.Op{Cluster: "c1", Node: "n1", Session: 7, Op: op}); err != nil {
		t.Fatal(err)
	}
}

func newWatcher(t *testing.T, d *docker, dir string) *hostinfo.Watcher {
	t.Helper()
	w, err := hostinfo.NewWatcher(hostinfo.WatcherConfig{
		Cluster: "c1", Node: "n1", OpDir: dir, Capacity: placement.Resources{CPU: 4000, Memory: 1 << 30, Disk: 10 << 30},
		Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)),
	}, d, host{hostinfo.Figures{Cores: 4, Memory: 2 << 30, MemoryAvailable: 1 << 30, Disk: 20 << 30, DiskFree: 20 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// scene is a watcher that runs in the bubble of t, attached to c.
type scene struct {
	t *testing.T
	w *hostinfo.Watcher
	c *central
}

// watch runs a watcher attached to the centrals in a bubble.
func watch(t *testing.T, d *docker, dir string, test func(s scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d.events, d.breaks = make(chan hostinfo.Event), make(chan error) // the bubble's
		w, c := newWatcher(t, d, dir), newCentral()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		wg.Go(func() {
			if err := w.Attend(ctx, c); !errors.Is(err, context.Canceled) {
				t.Errorf("Attend: %v", err)
			}
		})
		test(scene{t, w, c})
		cancel()
		wg.Wait()
	})
}

// firstReport waits for the complete listing that opens a link.
func firstReport(t *testing.T, c *central) told {
	t.Helper()
	for range 20 {
		if got := c.reports(); len(got) > 0 {
			if len(got) != 1 || !got[0].Full || got[0].Link != 1 || got[0].Seq != 1 {
				t.Fatalf("the first word on a link is not a complete listing: %+v", got)
			}
			return got[0]
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("no report within a second")
	return told{}
}
