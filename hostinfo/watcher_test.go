package hostinfo_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"longshore/hostinfo"
	"longshore/internal/opfile"
	"longshore/internal/placement"
)

func TestEventIsReportedAtOnceForItsCopyAlone(t *testing.T) {
	dir := t.TempDir()
	writeOp(t, dir, 3)
	other := placement.ID("alice/shop/web/2.00000001aaaa00000003")
	d := newDocker(copyOf(web1, placement.CopyRunning), copyOf(other, placement.CopyRunning))
	watch(t, d, dir, func(s scene) {
		t, c := s.t, s.c
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
	watch(t, d, dir, func(s scene) {
		t, c := s.t, s.c
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
			watch(t, newDocker(copyOf(web1, placement.CopyRunning)), dir, func(s scene) {
				t, c := s.t, s.c
				if r := firstReport(t, c); r.At != nil || len(r.Copies) != 1 {
					t.Errorf("report at %+v with %d copies, want none and 1", r.At, len(r.Copies))
				}
			})
		})
	}
}

func TestOpFileThatAppearsIsUsed(t *testing.T) {
	dir := t.TempDir()
	watch(t, newDocker(), dir, func(s scene) {
		t, c := s.t, s.c
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
	watch(t, d, dir, func(s scene) {
		t, c := s.t, s.c
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
	watch(t, d, t.TempDir(), func(s scene) {
		t, c := s.t, s.c
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
	watch(t, newDocker(), t.TempDir(), func(s scene) {
		t, c := s.t, s.c
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
