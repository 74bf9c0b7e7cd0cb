package retryq_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/boltstore"
)

func TestStartHoldsOldWork(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(3, ha))
		first := w.place(n1)
		waiting := w.mustNext() // web/2, in hand when the ledger dies
		old := w.l.Mark()

		w.restart()
		if now := w.l.Mark(); now.Gen != old.Gen || now.Start <= old.Start || now.Rev <= old.Rev {
			t.Fatalf("mark %+v after %+v", now, old)
		}
		// Nobody has registered: what agents say is void.
		if a := n1.ask(placement.Bind{ID: first.ID, Epoch: first.Epoch, Digest: first.Request.Digest(), At: n1.at}); a.Verdict != placement.VerdictStale {
			t.Errorf("before registering: %+v", a)
		}
		n1.openLink()
		n1.register()
		// V3: not all have listed, so old work waits; what is bound may start again.
		if a := n1.ask(placement.Bind{ID: first.ID, Epoch: first.Epoch, Digest: first.Request.Digest(), At: n1.at}); a.Verdict != placement.VerdictYes {
			t.Errorf("bound already: %+v", a)
		}
		if a := n1.ask(placement.Bind{ID: waiting.ID, Epoch: waiting.Epoch, Digest: waiting.Request.Digest(), At: n1.at}); a.Verdict != placement.VerdictWait {
			t.Errorf("an offer of the former start: %+v", a)
		}
		if _, ok := w.next(20 * time.Second); ok {
			t.Error("old work is offered while held")
		}
		if n := w.lose("n1", time.Hour, false); n != 0 {
			t.Error("lost while held")
		}
		copies := n1.copies
		n1.copies = nil
		n1.report(n1.full())
		n1.copies = copies
		w.expect(web1, placement.Running, "n1") // absent while held: no
		// New submits flow at once.
		b := app(1)
		b.Owner = "bob"
		w.submit(b)
		if try, ok := w.next(time.Millisecond); !ok || try.ID.Owner() != "bob" {
			t.Errorf("a new submit is not offered: %v", try.ID)
		} else {
			w.l.Settle(try, placement.Outcome{Taken: "n1"})
			if a := n1.bind(try); a.Verdict != placement.VerdictYes {
				t.Errorf("a new submit is not bound: %+v", a)
			}
		}
		// The last node registers, then lists: the hold is over, V1: with new epochs.
		n2.openLink()
		n2.register()
		if w.l.Holding() == "" {
			t.Error("the hold ended before the last listing")
		}
		n2.list()
		if why := w.l.Holding(); why != "" {
			t.Errorf("still holding: %s", why)
		}
		try := w.mustNext()
		if try.ID != waiting.ID || try.Epoch.Start() != w.l.Mark().Start {
			t.Errorf("%s is due at %s", try.ID, try.Epoch)
		}
		n2.at.Op++
		if a := n2.ask(placement.Bind{ID: waiting.ID, Epoch: waiting.Epoch, Digest: waiting.Request.Digest(), At: n2.at}); a.Verdict != placement.VerdictNo {
			t.Errorf("V1: an epoch of the former start is bound: %+v", a)
		}
	})
}

func TestHoldEndsByItself(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		w.submit(app(1))
		w.restart()
		begun := time.Now()
		w.mustNext()
		if held := time.Since(begun); held < 30*time.Second || held > 34*time.Second {
			t.Errorf("held for %s", held)
		}
	})
}

func TestGivenUpNodeIsNotWaitedFor(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(1))
		w.place(n1)
		if _, err := w.l.ChangeNode(t.Context(), placement.NodeChange{Node: "n1", GiveUp: new(true)}); err != nil {
			t.Fatal(err)
		}
		w.expect(web1, placement.Pending, "")
		w.restart()
		n2.openLink()
		n2.register()
		n2.list()
		if why := w.l.Holding(); why != "" {
			t.Errorf("holding: %s", why)
		}
		w.place(n2)
		// n1 registers again and is taken back; its stale copy is stopped.
		n1.openLink()
		n1.register()
		if orders := n1.list(); len(orders) != 1 {
			t.Errorf("orders: %v", orders)
		}
	})
}

func TestFirstStartHoldsNothing(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		if why := w.l.Holding(); why != "" {
			t.Errorf("holding: %s", why)
		}
		w.submit(app(1))
		if _, ok := w.next(time.Millisecond); !ok {
			t.Error("nothing is due")
		}
	})
}

// copyFile is a backup taken behind the ledger's back.
func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// onFile runs a test on a bolt file that can be rolled back.
func onFile(t *testing.T, test func(w *world, rollBack func())) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	synctest.Test(t, func(t *testing.T) {
		open := func() retryq.Store {
			s, err := boltstore.Open(path, boltstore.Options{Reserve: -1})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		w := &world{t: t, store: open()}
		w.start()
		t.Cleanup(func() { w.stop(); w.store.Close() })
		saved := false
		test(w, func() { // the first call saves, the second puts back
			w.stop()
			w.store.Close()
			if saved {
				copyFile(t, path, path+".saved")
			} else {
				copyFile(t, path+".saved", path)
			}
			saved = true
			w.store = open()
			w.start()
		})
	})
}

func TestRolledBackFileIsSeen(t *testing.T) {
	onFile(t, func(w *world, rollBack func()) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(2, ha))
		rollBack() // saves
		for _, n := range []*node{n1, n2} {
			n.openLink()
			n.register()
			n.list()
		}
		w.place(n1)
		w.place(n2)
		first := n1.copies
		lostMark := n1.mark
		rollBack() // puts back: both are PENDING in this history
		w.expect(web1, placement.Pending, "")
		n1.openLink()
		n1.register()
		mark := w.l.Mark()
		if mark.Gen != 2 || mark.Start.Term() <= lostMark.Start.Term() {
			t.Fatalf("mark %+v, the lost history had %+v", mark, lostMark)
		}
		if n1.at.Session <= 2 {
			t.Errorf("V5: session %d was given in the lost history", n1.at.Session)
		}
		if orders := n1.list(); len(orders) != 0 {
			t.Fatalf("V2: the only copy is stopped: %v", orders)
		}
		// V4: a restart does not end the hold.
		w.restart()
		if w.l.Mark().Gen != 2 || w.l.Holding() == "" {
			t.Fatal("V4: the hold is forgotten")
		}
		w.submit(func() placement.App { a := app(1); a.Owner = "bob"; return a }())
		if try, ok := w.next(20 * time.Second); ok {
			t.Errorf("%s is offered after a rollback", try.ID)
		}
		n1.openLink()
		n1.register()
		if orders := n1.list(); len(orders) != 0 {
			t.Fatalf("orders: %v", orders)
		}
		n2.openLink()
		n2.register()
		if orders := n2.list(); len(orders) != 0 {
			t.Fatalf("orders: %v", orders)
		}
		if why := w.l.Holding(); why != "" {
			t.Fatalf("holding: %s", why)
		}
		if w.l.Mark().Gen != 2 {
			t.Errorf("generation %d after one rollback", w.l.Mark().Gen)
		}
		w.expect(web1, placement.Running, "n1")
		w.expect(web2, placement.Running, "n2")
		for id := range first {
			if s := w.status(web1); s.ID != id {
				t.Errorf("%s runs, the node has %s", s.ID, id)
			}
		}
		if orders := n1.list(); len(orders) != 0 {
			t.Errorf("orders: %v", orders)
		}
	})
}

// TestRollbackProvesNothingOfAMuteDaemon: a node was listed, and the daemon of
// the only copy was not, so that the copy may still run.
func TestRollbackProvesNothingOfAMuteDaemon(t *testing.T) {
	onFile(t, func(w *world, rollBack func()) {
		n1 := w.node("n1")
		w.submit(app(1))
		w.place(n1)
		rollBack() // saved: web/1 bound to n1
		n1.openLink()
		n1.register()
		n1.list()
		w.submit(func() placement.App { a := app(1); a.Owner = "bob"; return a }())
		n1.list()
		rollBack() // puts back
		n1.openLink()
		n1.register()
		mute := n1.full()
		mute.Copies = nil
		for i, d := range mute.Daemons {
			if d.Owner == "alice" {
				mute.Daemons[i] = placement.DaemonListing{Owner: "alice", Err: "it does not answer"}
			}
		}
		n1.report(mute)
		if why := w.l.Holding(); why != "" || w.l.Mark().Gen != 2 {
			t.Fatalf("generation %d, holding: %s", w.l.Mark().Gen, why)
		}
		if orders := n1.list(); len(orders) != 0 {
			t.Fatalf("the only copy is stopped: %v", orders)
		}
		w.expect(web1, placement.Running, "n1")
	})
}

func TestRollbackAdoptsTheHighestEpochWhereItsSlotIsFree(t *testing.T) {
	onFile(t, func(w *world, rollBack func()) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(2, ha))
		w.place(n1)
		rollBack() // saved: web/1 bound to n1
		for _, n := range []*node{n1, n2} {
			n.openLink()
			n.register()
			n.list()
		}
		// In the lost history web/1 moves to n2 and web/2 takes n1's slot.
		w.lose("n1", time.Minute, false)
		moved := w.place(n2)
		if moved.ID.Replica() != web1 {
			t.Fatalf("%s moved", moved.ID)
		}
		stale := maps.Clone(n1.copies)
		n1.list() // web/1's old copy is stopped
		w.place(n1)
		maps.Copy(n1.copies, stale) // and a reboot of the node brings it back
		rollBack()
		w.expect(web1, placement.Running, "n1")
		for _, n := range []*node{n1, n2} {
			n.openLink()
			n.register()
		}
		n1.list()
		n2.list()
		w.expect(web1, placement.Running, "n2")
		w.expect(web2, placement.Running, "n1")
		if orders := n1.list(); len(orders) != 1 || orders[0].ID.Replica() != web1 {
			t.Errorf("V11: orders: %v", orders)
		}
	})
}

func TestUnknownPlacementIsQuarantined(t *testing.T) {
	onFile(t, func(w *world, rollBack func()) {
		t := w.t
		w.change = func(c *retryq.Config) { c.Requests = nil }
		n1 := w.node("n1")
		rollBack()
		n1.openLink()
		n1.register()
		n1.list()
		w.submit(app(1))
		try := w.place(n1)
		rollBack()
		n1.openLink()
		n1.register()
		n1.list()
		if orders := n1.list(); len(orders) != 0 {
			t.Fatalf("V12: a copy of an unknown placement is stopped: %v", orders)
		}
		if unknown := w.l.Unknown("n1"); len(unknown) != 1 || unknown[0].ID != try.ID {
			t.Errorf("unknown: %v", unknown)
		}
		n1.at.Op++
		if a := n1.ask(placement.Bind{ID: try.ID, Epoch: try.Epoch, Digest: "x", At: n1.at, Exit: new(int)}); a.Verdict != placement.VerdictWait {
			t.Errorf("an unknown copy that ended: %+v", a)
		}
	})
}

func TestOperatorsNewGeneration(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		w.stop()
		l, err := retryq.Open(t.Context(), retryq.Config{Store: w.store, NewGeneration: true})
		if err != nil {
			t.Fatal(err)
		}
		if l.Mark().Gen != 2 || l.Holding() == "" {
			t.Errorf("mark %+v, holding %q", l.Mark(), l.Holding())
		}
	})
}

func TestWrongClusterIsRefused(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		_, err1 := w.l.Bind(t.Context(), placement.Bind{Cluster: "x", Node: "n1"})
		_, _, err2 := w.l.Report(t.Context(), placement.Report{Cluster: "x", Node: "n1"})
		_, err3 := w.l.Register(t.Context(), placement.Register{Cluster: "x", Node: "n1"})
		if err := errors.Join(err1, err2, err3); !isKind(err1, placement.KindRefused) || !isKind(err2, placement.KindRefused) || !isKind(err3, placement.KindRefused) {
			t.Errorf("another cluster: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.l.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("next: %v", err)
		}
	})
}
