package hostinfo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
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

// watch runs a watcher attached to the centrals in a bubble.
func watch(t *testing.T, d *docker, dir string, test func(t *testing.T, w *hostinfo.Watcher, c *central)) {
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
		test(t, w, c)
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

func TestEventIsReportedAtOnceForItsCopyAlone(t *testing.T) {
	dir := t.TempDir()
	writeOp(t, dir, 3)
	other := placement.ID("alice/shop/web/2.00000001aaaa00000003")
	d := newDocker(copyOf(web1, placement.CopyRunning), copyOf(other, placement.CopyRunning))
	watch(t, d, dir, func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		if got := firstReport(t, c); got.Copies[0].ID != web1 || got.At == nil || got.At.Op != 3 {
			t.Fatalf("first listing %+v", got)
		}
		writeOp(t, dir, 9) // after the listing: no event may claim to be as of this
		before := time.Since(c.start)
		d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, placement.CopyExited)}
		got := c.reports()
		if len(got) != 1 {
			t.Fatalf("%d reports at once, want 1: %+v", len(got), got)
		}
		r := got[0]
		if r.Full || r.after != before || len(r.Copies) != 1 || r.Copies[0].State != placement.CopyExited || r.At == nil || r.At.Op != 3 {
			t.Errorf("event reported as %+v after %v, want web1 alone, exited, at op 3, after %v", r.Report, r.after, before)
		}
	})
}

func TestOpIsReadBeforeTheListing(t *testing.T) {
	dir := t.TempDir()
	writeOp(t, dir, 1)
	d := newDocker()
	op := uint64(1)
	d.during = func(context.Context) error {
		op++
		writeOp(t, dir, op) // the agent goes on while we list
		return nil
	}
	watch(t, d, dir, func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		time.Sleep(30 * time.Second)
		got := c.reports()
		if len(got) < 5 {
			t.Fatalf("%d reports in 30 s", len(got))
		}
		for i, r := range got {
			if r.At == nil || r.At.Op != uint64(i+1) {
				t.Fatalf("listing %d is as of %+v, want op %d, read before it", i, r.At, i+1)
			}
		}
	})
}

func TestWithoutOpFileOfThisNodeNothingIsProven(t *testing.T) {
	for name, op := range map[string]*opfile.Op{
		"no file":         nil,
		"another node":    {Cluster: "c1", Node: "n2", Session: 7, Op: 3},
		"another cluster": {Cluster: "c2", Node: "n1", Session: 7, Op: 3},
		"broken":          {},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if op != nil {
				if err := opfile.Write(dir, *op); err != nil {
					t.Fatal(err)
				}
			}
			watch(t, newDocker(copyOf(web1, placement.CopyRunning)), dir, func(t *testing.T, _ *hostinfo.Watcher, c *central) {
				if r := firstReport(t, c); r.At != nil || len(r.Copies) != 1 {
					t.Errorf("report at %+v with %d copies, want none and 1", r.At, len(r.Copies))
				}
			})
		})
	}
}

func TestOpFileThatAppearsIsUsed(t *testing.T) {
	dir := t.TempDir()
	watch(t, newDocker(), dir, func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		firstReport(t, c)
		writeOp(t, dir, 4)
		time.Sleep(6 * time.Second)
		if got := c.reports(); len(got) == 0 || got[len(got)-1].At == nil || got[len(got)-1].At.Op != 4 {
			t.Errorf("after the agent registered: %+v", got)
		}
		if err := os.Remove(dir + "/" + opfile.Name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if got := c.reports(); len(got) == 0 || got[len(got)-1].At != nil {
			t.Errorf("after the file went: %+v", got)
		}
	})
}

func TestEqualListingGoesAsDigest(t *testing.T) {
	dir := t.TempDir()
	d := newDocker(copyOf(web1, placement.CopyRunning), copyOf(web1+"0", placement.CopyRunning))
	watch(t, d, dir, func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		firstReport(t, c)
		time.Sleep(11 * time.Second)
		got := c.reports()
		if len(got) < 2 {
			t.Fatalf("%d reports in 11 s", len(got))
		}
		for _, r := range got {
			if r.Same == "" || !r.Full || r.Copies != nil || r.Daemons != nil || r.Room.Copies != 2 {
				t.Fatalf("an equal listing went as %+v", r)
			}
		}

		c.answers(func(_ context.Context, r placement.Report) (placement.ReportAnswer, error) {
			return placement.ReportAnswer{Resend: r.Same != ""}, nil
		})
		time.Sleep(6 * time.Second)
		got = c.reports()
		if len(got) < 2 || got[0].Same == "" || got[1].Same != "" || len(got[1].Copies) != 2 || got[1].after != got[0].after {
			t.Fatalf("told to resend, sent %+v", got)
		}
		if got[1].Seq != got[0].Seq+1 {
			t.Errorf("resent as seq %d after %d", got[1].Seq, got[0].Seq)
		}

		c.answers(nil)
		time.Sleep(6 * time.Second)
		c.reports()
		d.set(func(l *hostinfo.Listing) { l.Copies[0].State = placement.CopyExited })
		time.Sleep(6 * time.Second)
		if got := c.reports(); len(got) == 0 || got[0].Same != "" || len(got[0].Copies) != 2 || got[0].Copies[0].State != placement.CopyExited {
			t.Errorf("a changed listing went as %+v", got)
		}
	})
}

func TestBrokenStreamIsFollowedByAListing(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		for name, breakIt := range map[string]func(){
			"broken": func() { d.breaks <- errors.New("unexpected EOF") },
			"resync": func() { d.events <- hostinfo.Event{Owner: "alice", Resync: true} },
			"gone":   func() { d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, placement.CopyGone)} },
		} {
			firstFull := func(within time.Duration) bool {
				time.Sleep(within)
				return slices.ContainsFunc(c.reports(), func(r told) bool { return r.Full })
			}
			for !firstFull(20 * time.Millisecond) { // just after a periodic one
			}
			time.Sleep(time.Second)
			c.reports()
			breakIt()
			if !firstFull(250 * time.Millisecond) {
				t.Errorf("%s: no listing within 250 ms", name)
			}
		}
	})
}

func TestPeriods(t *testing.T) {
	watch(t, newDocker(), t.TempDir(), func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		time.Sleep(5 * time.Minute)
		got := c.reports()
		for i := 3; i < len(got); i++ { // after the first, and the one for the opened stream
			if gap := got[i].after - got[i-1].after; gap < 4500*time.Millisecond || gap > 5500*time.Millisecond {
				t.Errorf("%v between listings", gap)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := 1; i < len(c.beats); i++ {
			if gap := c.beats[i] - c.beats[i-1]; gap < 900*time.Millisecond || gap > 1100*time.Millisecond {
				t.Errorf("%v between beats", gap)
			}
		}
		if len(got) < 54 || len(c.beats) < 272 {
			t.Errorf("%d listings and %d beats in 5 min", len(got), len(c.beats))
		}
	})
}

func TestFailedReportsAreNotQueued(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		firstReport(t, c)
		c.answers(func(ctx context.Context, _ placement.Report) (placement.ReportAnswer, error) {
			<-ctx.Done()
			return placement.ReportAnswer{}, ctx.Err()
		})
		began := time.Now()
		for i := range 40 {
			d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(placement.ID(fmt.Sprintf("alice/shop/web/%d.00000001aaaa00000001", i+1)), placement.CopyRunning)}
			time.Sleep(500 * time.Millisecond)
		}
		d.set(func(l *hostinfo.Listing) { l.Copies = append(l.Copies, copyOf(web1, placement.CopyRunning)) })
		c.answers(nil)
		c.reports()
		time.Sleep(10 * time.Second)
		got := c.reports()
		full := slices.IndexFunc(got, func(r told) bool { return r.Full && len(r.Copies) == 1 })
		if full < 0 || full > 3 {
			t.Errorf("after %v of failures the truth came as report %d of %d", time.Since(began), full, len(got))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.beats); n < 25 {
			t.Errorf("%d beats while reports failed", n)
		}
	})
}

func TestHungListingStopsNeitherEventsNorBeats(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		firstReport(t, c)
		time.Sleep(time.Second)
		d.mu.Lock()
		d.during = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		d.mu.Unlock()
		time.Sleep(20 * time.Second)
		c.reports()
		before := time.Since(c.start)
		d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, placement.CopyRunning)}
		if got := c.reports(); len(got) != 1 || got[0].after != before {
			t.Errorf("with a hung listing an event came as %+v", got)
		}
		c.mu.Lock()
		beats := len(c.beats)
		c.mu.Unlock()
		if beats < 18 {
			t.Errorf("%d beats in 21 s", beats)
		}
		d.mu.Lock()
		d.during = nil
		d.mu.Unlock()
		time.Sleep(10 * time.Second)
		if got := c.reports(); !slices.ContainsFunc(got, func(r told) bool { return r.Full }) {
			t.Error("no listing after it could be made again")
		}
	})
}

func TestListingBegunBeforeALinkIsNotSentOnIt(t *testing.T) {
	d := newDocker()
	release := make(chan struct{})
	watch(t, d, t.TempDir(), func(t *testing.T, w *hostinfo.Watcher, c *central) {
		firstReport(t, c)
		time.Sleep(time.Second)
		release = make(chan struct{}) // the bubble's
		d.mu.Lock()
		d.during = func(context.Context) error { <-release; return nil }
		d.mu.Unlock()
		d.events <- hostinfo.Event{Resync: true}
		time.Sleep(time.Second) // a listing is under way

		second := newCentral()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Attend(ctx, second) }()
		synctest.Wait()
		d.mu.Lock()
		d.during = nil
		d.listing.Copies = []placement.Copy{copyOf(web1, placement.CopyRunning)}
		d.mu.Unlock()
		close(release)
		time.Sleep(30 * time.Second)
		if got := second.reports(); len(got) == 0 || !got[0].Full || len(got[0].Copies) != 1 {
			t.Errorf("the first listing on the second link is %+v, want one begun after it", got)
		}
		if got := c.reports(); len(got) < 2 || len(got[0].Copies) != 0 {
			t.Errorf("the first link should have got the earlier listing too: %+v", got)
		}
		cancel()
		<-done
	})
}

func TestOneHungBroadcasterDoesNotDelayAnother(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(t *testing.T, w *hostinfo.Watcher, c *central) {
		hung := newCentral()
		hung.answers(func(ctx context.Context, _ placement.Report) (placement.ReportAnswer, error) {
			<-ctx.Done()
			return placement.ReportAnswer{}, ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Attend(ctx, hung) }()
		firstReport(t, c)
		time.Sleep(3 * time.Second)
		c.reports()
		before := time.Since(c.start)
		d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, placement.CopyRunning)}
		if got := c.reports(); len(got) != 1 || got[0].after != before {
			t.Errorf("beside a hung broadcaster an event came as %+v", got)
		}
		cancel()
		<-done
	})
}

func TestEventsOfOneCopyKeepTheirOrder(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(t *testing.T, _ *hostinfo.Watcher, c *central) {
		firstReport(t, c)
		time.Sleep(time.Second)
		c.reports()
		c.answers(func(context.Context, placement.Report) (placement.ReportAnswer, error) {
			time.Sleep(100 * time.Millisecond)
			return placement.ReportAnswer{}, nil
		})
		states := []placement.CopyState{placement.CopyCreated, placement.CopyRunning, placement.CopyExited}
		for _, s := range states {
			d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, s)}
		}
		time.Sleep(time.Second)
		var got []placement.CopyState
		for _, r := range c.reports() {
			for _, copied := range r.Copies {
				got = append(got, copied.State)
			}
		}
		if !slices.Equal(got, states) {
			t.Errorf("told %v, want %v", got, states)
		}
	})
}

func TestVoidLinkIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w, c := newWatcher(t, newDocker(), t.TempDir()), newCentral()
		var wg sync.WaitGroup
		wg.Go(func() { _ = w.Run(ctx) })
		c.answers(func(context.Context, placement.Report) (placement.ReportAnswer, error) {
			return placement.ReportAnswer{}, &placement.Error{Kind: placement.KindRegister, What: "register again"}
		})
		if err := w.Attend(ctx, c); err == nil || ctx.Err() != nil {
			t.Errorf("Attend on a void link: %v", err)
		}
		c.answers(nil)
		c.reports()
		wg.Go(func() { _ = w.Attend(ctx, c) })
		time.Sleep(6 * time.Second)
		if got := c.reports(); len(got) == 0 || got[0].Link != 2 || got[0].Seq != 1 || got[0].Same != "" {
			t.Errorf("on the new link: %+v", got)
		}
		cancel()
		wg.Wait()
	})
}

func TestAnotherClusterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := hostinfo.NewWatcher(hostinfo.WatcherConfig{
			Cluster: "mine", Node: "n1", OpDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)),
		}, newDocker(), host{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Attend(t.Context(), newCentral()); err == nil {
			t.Error("a broadcaster of another cluster was taken")
		}
	})
}

func TestWatcherConfigIsChecked(t *testing.T) {
	good := hostinfo.WatcherConfig{Node: "n1", OpDir: "/x", Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2))}
	for name, spoil := range map[string]func(c *hostinfo.WatcherConfig){
		"node":   func(c *hostinfo.WatcherConfig) { c.Node = "a/b" },
		"dir":    func(c *hostinfo.WatcherConfig) { c.OpDir = "" },
		"logger": func(c *hostinfo.WatcherConfig) { c.Logger = nil },
		"rand":   func(c *hostinfo.WatcherConfig) { c.Rand = nil },
	} {
		c := good
		spoil(&c)
		if _, err := hostinfo.NewWatcher(c, newDocker(), host{}); err == nil {
			t.Errorf("a configuration without a good %s was taken", name)
		}
	}
}
