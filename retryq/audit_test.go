package retryq_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
)

// history is the log as the filter chooses it.
func (w *world) history(f placement.LogFilter) []placement.Transition {
	w.t.Helper()
	var lines []placement.Transition
	err := w.l.History(w.t.Context(), f, func(t placement.Transition) error {
		lines = append(lines, t)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

// plain is a line without what differs between runs.
func plain(t placement.Transition) string {
	return strings.TrimSpace(fmt.Sprintf("%s>%s %s by %s: %s", t.From, t.To, t.Node, t.By, t.Why))
}

func TestLogTellsWhatBecameOfAReplica(t *testing.T) {
	onBoth(t, func(w *world) {
		bob := placement.ActAs(w.t.Context(), "operator/bob")
		n := w.node("n1")
		if _, err := w.l.Submit(bob, app(1)); err != nil {
			t.Fatal(err)
		}
		try := w.mustNext()
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		n.bind(try)
		n.list()
		time.Sleep(3 * time.Second) // written behind
		delete(n.copies, try.ID)
		n.at.Op++
		n.list()
		again := w.mustNext()
		if _, err := w.l.Stop(bob, placement.Filter{Replica: try.ID.Replica()}, "operator/bob"); err != nil {
			t.Fatal(err)
		}
		want := []string{
			">PENDING  by operator/bob: begun",
			"PENDING>BOUND n1 by agent/n1: bound",
			"BOUND>RUNNING n1 by reports: seen running",
			"RUNNING>PENDING n1 by hostinfo/n1: its container is gone from n1",
			"PENDING>DONE  by operator/bob: stopped by operator/bob",
		}
		f := placement.LogFilter{Filter: placement.Filter{Replica: try.ID.Replica()}}
		check := func() {
			t.Helper()
			var have []string
			var last uint64
			for _, line := range w.history(f) {
				have = append(have, plain(line))
				if line.ID != try.ID || line.Rev <= last || line.Epoch == "" {
					t.Errorf("line %+v after revision %d", line, last)
				}
				last = line.Rev
			}
			if !slices.Equal(have, want) {
				t.Errorf("log:\n%s\nwant:\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
			}
		}
		check()
		if lines := w.history(f); lines[3].Epoch != again.Epoch || lines[0].Ago == nil || *lines[0].Ago < 3000 {
			t.Errorf("epoch %s of the loss, want %s; first line %v ago", lines[3].Epoch, again.Epoch, lines[0].Ago)
		}
		w.restart()
		check()
		if lines := w.history(f); lines[0].Ago != nil {
			t.Error("a line of an earlier start has an age: nobody measured the time between")
		}
		all := w.history(placement.LogFilter{})
		last := all[len(all)-1]
		if last.ID != "" || last.App != "" || last.Node != "" || !strings.HasPrefix(last.Why, "start ") {
			t.Errorf("the last line is %+v, want the ledger's start", last)
		}
	})
}

func TestLogIsOfTheCallerAlone(t *testing.T) {
	onBoth(t, func(w *world) {
		w.node("n1")
		w.submit(app(1))
		other := app(1)
		other.Owner = "eve"
		w.submit(other)
		for _, line := range w.history(placement.LogFilter{Filter: placement.Filter{Owner: "eve"}}) {
			if line.ID.Owner() != "eve" && !strings.HasPrefix(line.App, "eve/") {
				t.Errorf("eve sees %+v", line)
			}
		}
		for _, line := range w.history(placement.LogFilter{Filter: placement.Filter{Node: "n1"}}) {
			if line.Node != "n1" {
				t.Errorf("of n1: %+v", line)
			}
		}
	})
}

func TestLogIsFollowed(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.t.Context())
		var revs []uint64
		ended := make(chan error, 1)
		go func() {
			ended <- w.l.History(ctx, placement.LogFilter{Follow: true}, func(t placement.Transition) error {
				if len(revs) == 0 || revs[len(revs)-1] != t.Rev {
					revs = append(revs, t.Rev)
				}
				return nil
			})
		}()
		const n = 3000 // more than memory has at hand
		for i := range n {
			a := app(1)
			a.Name = fmt.Sprint("a", i)
			w.submit(a)
		}
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if len(revs) < n || !slices.IsSorted(revs) {
			t.Errorf("followed %d changes of %d, sorted %v", len(revs), n, slices.IsSorted(revs))
		}
	})
}

func TestLogIsBounded(t *testing.T) {
	onBoth(t, func(w *world) {
		w.stop()
		w.change = func(c *retryq.Config) { c.KeepLog = 200 }
		w.start()
		for i := range 500 {
			a := app(1)
			a.Name = fmt.Sprint("a", i)
			w.submit(a)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		entries := 0
		if err := w.store.Scan(w.t.Context(), "e/", func(retryq.Item) error { entries++; return nil }); err != nil {
			t.Fatal(err)
		}
		if entries < 200 || entries > 220 {
			t.Errorf("%d entries are kept, want 200 to 220", entries)
		}
		lines := w.history(placement.LogFilter{})
		if newest := lines[len(lines)-1]; newest.App != "alice/a499" && newest.ID.Replica().App() != "a499" {
			t.Errorf("the newest line is %+v", newest)
		}
		w.restart()
		if got := len(w.history(placement.LogFilter{})); got < 200 {
			t.Errorf("%d lines after a restart", got)
		}
	})
}
