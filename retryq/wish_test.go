package retryq_test

import (
	"slices"
	"testing"
	"time"

	"longshore/internal/placement"
)

var shop = placement.Filter{Owner: "alice", App: "shop"}

func (w *world) stopAll(f placement.Filter) {
	w.t.Helper()
	if _, err := w.l.Stop(w.t.Context(), f, "operator/bob"); err != nil {
		w.t.Fatalf("stop: %v", err)
	}
}

func (w *world) startAll(f placement.Filter) []placement.Replica {
	w.t.Helper()
	names, err := w.l.Start(w.t.Context(), f)
	if err != nil {
		w.t.Fatalf("start: %v", err)
	}
	return names
}

// idle says that nothing is due for a long time.
func (w *world) idle(what string) {
	w.t.Helper()
	if try, ok := w.next(time.Hour); ok {
		w.t.Fatalf("%s: %s is due", what, try.ID)
	}
}

// order is the stop order that need not wait for a report.
func (w *world) order() placement.StopOrder {
	w.t.Helper()
	_, o, err := w.l.NextOrder(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func TestStopHoldsThroughEverything(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(2, ha))
		first := w.place(n1)
		w.place(n2)
		w.stopAll(placement.Filter{Replica: web1})
		w.stopAll(placement.Filter{Replica: web1})
		if o := w.order(); o.ID != first.ID || o.Epoch != first.Epoch || o.Why != "stopped by operator/bob" {
			t.Errorf("order %+v", o)
		}
		w.expect(web1, placement.Done, "n1") // not proven gone
		if s := w.status(web1); s.Why != "stopped by operator/bob" || !s.Wanted {
			t.Errorf("%+v", s)
		}
		w.submit(app(3, ha)) // its slot is still held
		third := w.mustNext()
		if len(third.Barred) != 2 {
			t.Errorf("barred %+v", third.Barred)
		}
		w.l.Settle(third, placement.Outcome{Passes: third.Barred})
		if orders := n1.list(); len(orders) != 1 {
			t.Fatalf("orders %+v", orders)
		}
		n1.list()
		w.expect(web1, placement.Done, "")
		if third = w.mustNext(); third.ID.Replica() != web3 || len(third.Barred) != 1 {
			t.Errorf("the slot is not free: %+v", third)
		}
		w.l.Settle(third, placement.Outcome{})
		// Nothing but a word starts it: not the loss of its node, not a restart.
		w.lose("n1", time.Hour, false)
		w.restart()
		for _, n := range []*node{n1, n2} {
			n.openLink()
			n.register()
			n.list()
			n.list()
		}
		w.submit(app(3, ha)) // the same again
		w.expect(web1, placement.Done, "")
		if s := w.status(web1); s.Why != "stopped by operator/bob" {
			t.Errorf("after a restart: %+v", s)
		}
		if try := w.mustNext(); try.ID.Replica() != web3 {
			t.Errorf("%s is due", try.ID)
		}
	})
}

func TestStartIsOnItsNode(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.node("n2")
		w.submit(app(1))
		first := w.place(n1)
		w.stopAll(shop)
		n1.list()
		n1.list()
		w.idle("stopped")
		if names := w.startAll(shop); !slices.Equal(names, []placement.Replica{web1}) {
			t.Errorf("started %v", names)
		}
		again := w.mustNext()
		if again.ID != first.ID || again.Epoch <= first.Epoch || again.Node != "n1" {
			t.Errorf("due: %+v", again)
		}
		w.l.Settle(again, placement.Outcome{Ignored: map[string]int{"node": 1}})
		w.restart() // the wish is durable
		n1.openLink()
		n1.register()
		n1.list()
		time.Sleep(time.Minute) // n2 does not come: the grace ends
		if try := w.place(n1); try.Node != "n1" {
			t.Errorf("after a restart: %+v", try)
		}
		w.expect(web1, placement.Running, "n1")
		w.startAll(shop) // twice
		w.expect(web1, placement.Running, "n1")
		// Where it runs is where it failed over from, like any other.
		w.lose("n1", time.Minute, false)
		if try := w.mustNext(); try.Node != "" {
			t.Errorf("after failover: %+v", try)
		}
	})
}

func TestStartDoesNotWaitForALostNode(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(1))
		w.place(n1)
		stale := n1.copies
		w.stopAll(shop)
		w.lose("n1", time.Minute, false)
		w.expect(web1, placement.Done, "") // gone, as far as anyone can tell
		w.startAll(shop)
		if try := w.place(n2); try.Node != "" {
			t.Errorf("it waits for a lost node: %+v", try)
		}
		n1.copies = stale
		if orders := n1.list(); len(orders) != 1 {
			t.Errorf("the copy that returns: %+v", orders)
		}
		w.expect(web1, placement.Running, "n2")
	})
}

func TestDrainAndRetryEndTheWaitForANode(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(2))
		w.place(n1)
		w.place(n2)
		w.stopAll(shop)
		for _, n := range []*node{n1, n2} {
			n.list()
			n.list()
		}
		w.startAll(shop)
		if _, err := w.l.ChangeNode(t.Context(), placement.NodeChange{Node: "n1", Drain: new(true)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.l.Retry(t.Context(), placement.Filter{Replica: web2}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			try := w.mustNext()
			if try.Node != "" {
				t.Errorf("%s waits for %s", try.ID, try.Node)
			}
			w.l.Settle(try, placement.Outcome{Taken: "n2"})
			n2.bind(try)
		}
	})
}

func TestStartWhileItStillStops(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		first := w.place(n1)
		w.stopAll(shop)
		w.startAll(shop)
		w.idle("its copy is there")
		w.expect(web1, placement.Done, "n1")
		n1.at.Op++
		code := 137 // it ended before the order came: its agent asks
		if a := n1.ask(placement.Bind{ID: first.ID, Epoch: first.Epoch, Digest: first.Request.Digest(), At: n1.at, Exit: &code}); a.Verdict != placement.VerdictNo {
			t.Errorf("the exit of a stopped copy: %+v", a)
		}
		delete(n1.copies, first.ID)
		n1.list()
		again := w.place(n1)
		if again.ID != first.ID || again.Epoch <= first.Epoch {
			t.Errorf("again: %+v", again)
		}
		w.expect(web1, placement.Running, "n1")
		w.stopAll(shop)
		w.startAll(shop)
		w.stopAll(shop) // the last word counts
		n1.list()
		n1.list()
		w.idle("stopped after all")
	})
}

func TestStopWhileItIsPlaced(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(3))
		offered, taken := w.mustNext(), placement.Try{}
		w.stopAll(placement.Filter{Replica: web1}) // in hand
		w.l.Settle(offered, placement.Outcome{Taken: "n1"})
		if a := n1.bind(offered); a.Verdict != placement.VerdictNo {
			t.Errorf("bound though stopped: %+v", a)
		}
		taken = w.mustNext()
		w.l.Settle(taken, placement.Outcome{Taken: "n1"})
		w.stopAll(placement.Filter{Replica: web2}) // a node works on it, and is told
		if o := w.order(); o.ID != taken.ID || o.Epoch != taken.Epoch {
			t.Errorf("order %+v", o)
		}
		bound := w.mustNext()
		w.l.Settle(bound, placement.Outcome{Taken: "n1"})
		if a := n1.bind(bound); a.Verdict != placement.VerdictYes {
			t.Fatalf("bind: %+v", a)
		}
		w.stopAll(placement.Filter{Replica: web3}) // before it was seen running
		time.Sleep(5 * time.Minute)                // no start timeout puts it back
		w.expect(web3, placement.Done, "n1")
		n1.list()
		n1.list()
		w.expect(web3, placement.Done, "")
		w.idle("all are stopped")
	})
}

func TestStopThenRemoveOrChange(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(2))
		w.place(n1)
		w.place(n1)
		w.stopAll(shop)
		w.submit(app(2, image(2))) // starts the changed service
		w.idle("the old copies are there")
		n1.list()
		n1.list()
		for range 2 {
			if try := w.place(n1); try.Request.Image != "alice/web@sha256:2" {
				t.Errorf("follows: %+v", try)
			}
		}
		w.stopAll(placement.Filter{Replica: web1})
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		if orders := n1.list(); len(orders) != 2 {
			t.Errorf("orders %+v", orders)
		}
		n1.list()
		if all, _ := w.l.Statuses(t.Context(), placement.Filter{All: true}); len(all) != 0 {
			t.Errorf("left: %+v", all)
		}
		if _, err := w.l.Stop(t.Context(), shop, "bob"); !isKind(err, placement.KindNotFound) {
			t.Errorf("stop of nothing: %v", err)
		}
	})
}

func TestExitedIsStartedAgain(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1, func(r *placement.Request) { r.Restart = placement.RestartNo }))
		first := w.place(n1)
		n1.at.Op++
		code := 3
		if a := n1.ask(placement.Bind{ID: first.ID, Epoch: first.Epoch, Digest: first.Request.Digest(), At: n1.at, Exit: &code}); a.Verdict != placement.VerdictDone {
			t.Fatalf("exit: %+v", a)
		}
		kept := n1.copies[first.ID]
		kept.State = placement.CopyExited
		n1.copies[first.ID] = kept
		if orders := n1.list(); len(orders) != 0 {
			t.Errorf("the ended copy is not kept: %+v", orders)
		}
		if names, err := w.l.Retry(t.Context(), shop); err != nil || len(names) != 0 {
			t.Errorf("retry of what ended: %v, %v", names, err)
		}
		w.stopAll(shop)
		if s := w.status(web1); s.Why != "exit code 3" || s.ExitCode != 3 {
			t.Errorf("stopped after its end: %+v", s)
		}
		w.startAll(shop)
		if o := w.order(); o.ID != first.ID || o.Epoch != first.Epoch {
			t.Errorf("the kept copy is in the way: %+v", o)
		}
		n1.list()
		if try := w.place(n1); try.Node != "n1" || try.ID != first.ID {
			t.Errorf("again: %+v", try)
		}
	})
}
