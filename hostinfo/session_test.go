package hostinfo_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/hostinfo"
	"longshore/internal/placement"
)

func TestFailedReportsAreNotQueued(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(s scene) {
		t, c := s.t, s.c
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
	watch(t, d, t.TempDir(), func(s scene) {
		t, c := s.t, s.c
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
	watch(t, d, t.TempDir(), func(s scene) {
		t, w, c := s.t, s.w, s.c
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
	watch(t, d, t.TempDir(), func(s scene) {
		t, w, c := s.t, s.w, s.c
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
	watch(t, d, t.TempDir(), func(s scene) {
		t, c := s.t, s.c
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
			if !r.Full && len(r.Copies) != 1 {
				t.Errorf("one report tells a copy %d times", len(r.Copies))
			}
			for _, copied := range r.Copies {
				got = append(got, copied.State)
			}
		}
		if !slices.Equal(got, states) {
			t.Errorf("told %v, want %v", got, states)
		}
	})
}

func TestListingReplacesTheEventsBeforeIt(t *testing.T) {
	d := newDocker()
	watch(t, d, t.TempDir(), func(s scene) {
		t, c := s.t, s.c
		firstReport(t, c)
		time.Sleep(time.Second)
		c.reports()
		c.answers(func(ctx context.Context, _ placement.Report) (placement.ReportAnswer, error) {
			<-ctx.Done() // 2 s each
			return placement.ReportAnswer{}, ctx.Err()
		})
		for range 20 { // one report each, for they are one copy's
			d.events <- hostinfo.Event{Owner: "alice", Copy: copyOf(web1, placement.CopyRunning)}
		}
		time.Sleep(15 * time.Second)
		partial := slices.DeleteFunc(c.reports(), func(r told) bool { return r.Full })
		if len(partial) > 4 {
			t.Errorf("%d events told, though a listing came within 5.5 s", len(partial))
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
