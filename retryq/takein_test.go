package retryq_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
)

func TestTombstoneWins(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		w.place(n1)
		stale := maps.Clone(n1.copies)
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		n1.list()
		n1.list() // it is gone
		n1.copies = stale
		w.change = func(c *retryq.Config) { c.NewGeneration = true }
		w.restart()
		back(n1)
		if orders := n1.list(); len(orders) != 1 {
			t.Errorf("orders: %v", orders)
		}
		if all, err := w.l.Statuses(t.Context(), placement.Filter{All: true}); err != nil || len(all) != 0 {
			t.Errorf("placements: %v, %v", all, err)
		}
	})
}

func TestLostHalfWayThroughARollout(t *testing.T) {
	var n1, n2 *node
	lost(t, 2, func(w *world) {
		n1, n2 = w.node("n1"), w.node("n2")
		w.submit(app(2))
		w.place(n1)
		w.place(n2)
		w.submit(app(2, image(2)))
		n1.list()
		n1.list() // web/1 of the old request is gone
		w.place(n1)
	}, func(w *world) {
		t := w.t
		back(n1, n2)
		w.expect(web1, placement.Running, "n1")
		synctest.Wait()
		if orders := n2.list(); len(orders) != 1 || orders[0].ID.Replica() != web2 {
			t.Fatalf("the rollout does not go on: %v", orders)
		}
		n2.list()
		if try := w.place(n2); try.ID.Replica() != web2 || try.Request.Image != "alice/web@sha256:2" {
			t.Errorf("%s of %s follows", try.ID, try.Request.Image)
		}
		n1.list()
		if s := w.submit(app(2, image(2))); !s.Unchanged {
			t.Errorf("the same app again: %+v", s)
		}
	})
}

func TestOfTwoLivesTheNewerIsWanted(t *testing.T) {
	var n1, n2 *node
	var newer placement.Try
	lost(t, 2, func(w *world) {
		n1, n2 = w.node("n1"), w.node("n2")
		w.submit(app(1))
		w.place(n1)
		w.lose("n1", time.Minute, false) // and comes back with its copy
		w.submit(app(1, image(2)))
		newer = w.place(n2)
	}, func(w *world) {
		t := w.t
		back(n1, n2)
		w.expect(web1, placement.Running, "n2")
		if s := w.status(web1); s.ID != newer.ID {
			t.Errorf("%s is wanted, %s was newer", s.ID, newer.ID)
		}
		if orders := n1.list(); len(orders) != 1 {
			t.Errorf("orders for the older one: %v", orders)
		}
		n1.list()
		if all, err := w.l.Statuses(t.Context(), placement.Filter{All: true}); err != nil || len(all) != 1 {
			t.Errorf("placements: %v, %v", all, err)
		}
	})
}

func TestWhatSharesASlotIsStopped(t *testing.T) {
	var n1 *node
	lost(t, 1, func(w *world) {
		n1 = w.node("n1")
		w.submit(app(1, ha))
		w.place(n1)
		twin := placement.Replica("alice/shop/web/2").Placement(w.status(web1).ID.Life())
		for _, c := range n1.copies {
			c.ID = twin
			n1.copies[twin] = c
			break
		}
	}, func(w *world) {
		back(n1)
		w.expect(web1, placement.Running, "n1")
		w.expect(web2, placement.Pending, "")
		if orders := n1.list(); len(orders) != 1 || orders[0].ID.Replica() != web2 {
			w.t.Errorf("orders: %v", orders)
		}
	})
}

// TestSubmitWhileTheLedgerHolds: a wish that was made while the ledger did not
// know yet what runs is newer than all that it finds.
func TestSubmitWhileTheLedgerHolds(t *testing.T) {
	var n1, n2 *node
	var before map[placement.NodeID]map[placement.ID]placement.Copy
	lost(t, 2, func(w *world) {
		n1, n2 = w.node("n1"), w.node("n2")
		w.submit(app(2, ha))
		w.place(n1)
		w.place(n2)
		w.submit(bobs(1))
		w.place(n1)
		before = running(n1, n2)
	}, func(w *world) {
		t := w.t
		w.submit(app(2, ha))
		w.submit(func() placement.App { a := bobs(1); image(2)(&a.Services[0].Request); return a }())
		if try, ok := w.next(10 * time.Second); ok {
			t.Fatalf("%s is offered", try.ID)
		}
		if _, err := w.l.SubmitService(t.Context(), "alice", "shop", placement.Service{Name: "api", Replicas: 1, Request: placement.Request{V: 1, Image: "x"}}, ""); !isKind(err, placement.KindUnavailable) {
			t.Errorf("one service of an app that may have more: %v", err)
		}
		back(n1, n2)
		for _, r := range []placement.Replica{web1, web2} {
			s := w.status(r)
			if _, same := before[s.Node][s.ID]; !same || s.State != placement.Running {
				t.Errorf("%s is %s on %q: the same wish replaced it", r, s.State, s.Node)
			}
		}
		n1.list()
		n1.list() // bob's old copy is gone
		if try := w.mustNext(); try.ID.Owner() != "bob" || try.Request.Image != "alice/web@sha256:2" {
			t.Errorf("%s of %s is offered", try.ID, try.Request.Image)
		}
	})
}
