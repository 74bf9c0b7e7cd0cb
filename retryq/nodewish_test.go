package retryq_test

import (
	"slices"
	"testing"
	"time"

	"longshore/internal/placement"
)

func TestDestroyStaysAway(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(2))
		w.place(n1)
		w.place(n1)
		destroy := func() {
			t.Helper()
			if names, err := w.l.Destroy(t.Context(), placement.Filter{Replica: web1}, "operator/bob"); err != nil || len(names) != 1 {
				t.Fatalf("destroy: %v, %v", names, err)
			}
		}
		destroy()
		destroy()
		if orders := n1.list(); len(orders) != 1 {
			t.Errorf("orders %+v", orders)
		}
		n1.list()
		destroy()
		w.restart()
		n1.openLink()
		n1.register()
		n1.list()
		w.idle("destroyed")
		if s := w.submit(app(2)); !s.Unchanged || !slices.Equal(s.Destroyed, []placement.Replica{web1}) {
			t.Errorf("the same again: %+v", s)
		}
		if s := w.submit(app(3)); len(s.Added) != 1 || !slices.Equal(s.Destroyed, []placement.Replica{web1}) {
			t.Errorf("scaled: %+v", s)
		}
		if try := w.place(n1); try.ID.Replica() != web3 {
			t.Errorf("%s follows", try.ID)
		}
		w.idle("destroyed, and the service was scaled")
		if _, err := w.l.Explain(t.Context(), web1); !isKind(err, placement.KindNotFound) || err.(*placement.Error).Why != "by operator/bob" { //nolint:errorlint // just that type
			t.Errorf("explain: %v", err)
		}
		if names := w.startAll(placement.Filter{Replica: web1}); !slices.Equal(names, []placement.Replica{web1}) {
			t.Errorf("started %v", names)
		}
		w.place(n1)
		w.expect(web1, placement.Running, "n1")
		destroy()
		n1.list()
		n1.list()
		if s := w.submit(app(3, image(2))); !slices.Contains(s.Added, web1) || len(s.Destroyed) != 0 {
			t.Errorf("changed: %+v", s)
		}
		if try := w.place(n1); try.ID.Replica() != web1 {
			t.Errorf("%s follows", try.ID)
		}
		destroy()
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		n1.list()
		n1.list()
		if s := w.submit(app(2, image(2))); len(s.Added) != 2 || len(s.Destroyed) != 0 {
			t.Errorf("after rm: %+v", s)
		}
		if _, err := w.l.Destroy(t.Context(), placement.Filter{Replica: web3}, "bob"); !isKind(err, placement.KindNotFound) {
			t.Errorf("destroy of what is not wished: %v", err)
		}
	})
}

// wish is a node's word about a placement.
func (n *node) wish(verb string, id placement.ID) (placement.Wished, error) {
	return n.w.l.Wish(n.w.t.Context(), placement.Wish{V: 1, Cluster: n.w.l.Cluster(), Node: n.name, Verb: verb, ID: id, By: "operator/bob"})
}

func TestNodesWish(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(1))
		first := w.place(n1)
		for _, verb := range []string{placement.WishStop, placement.WishStart, placement.WishDestroy} {
			if _, err := n2.wish(verb, first.ID); !isKind(err, placement.KindRefused) {
				t.Errorf("n2 wishes %s: %v", verb, err)
			}
		}
		must := func(verb string, id placement.ID, state placement.State, unchanged bool) placement.Wished {
			t.Helper()
			a, err := n1.wish(verb, id)
			if err != nil || a.State != state || a.Unchanged != unchanged || a.ID != first.ID || a.Mark.Rev == 0 {
				t.Fatalf("%s: %+v, %v", verb, a, err)
			}
			return a
		}
		a := must(placement.WishStop, first.ID, placement.Done, false)
		if a.Stop == nil || a.Stop.Epoch != first.Epoch || a.Epoch != first.Epoch || a.Stop.Cluster != w.l.Cluster() {
			t.Errorf("what to stop: %+v", a)
		}
		if b := must(placement.WishStop, "alice/shop/web/1", placement.Done, true); b.Stop == nil {
			t.Error("a repeated wish does not say what to stop")
		}
		n1.list()
		n1.list()
		if b := must(placement.WishStop, first.ID, placement.Done, true); b.Stop != nil {
			t.Errorf("what is gone is to stop: %+v", b.Stop)
		}
		if _, err := n2.wish(placement.WishStart, first.ID); !isKind(err, placement.KindRefused) {
			t.Errorf("n2 starts what was on n1: %v", err)
		}
		must(placement.WishStart, first.ID, placement.Pending, false)
		must(placement.WishStart, "alice/shop/web/1", placement.Pending, true)
		if try := w.place(n1); try.Node != "n1" {
			t.Errorf("%+v", try)
		}
		if a = must(placement.WishDestroy, first.ID, placement.Cancelled, false); a.Stop == nil {
			t.Errorf("what to stop: %+v", a)
		}
		must(placement.WishDestroy, first.ID, placement.Cancelled, true)
		n1.list()
		n1.list()
		must(placement.WishDestroy, first.ID, placement.Cancelled, true) // buried
		w.idle("destroyed")
		for name, c := range map[string]struct {
			verb, kind string
			id         placement.ID
		}{
			"nothing":   {placement.WishStop, placement.KindNotFound, "alice/shop/db/1"},
			"destroyed": {placement.WishStart, placement.KindNotFound, "alice/shop/web/1"},
			"no name":   {placement.WishStop, placement.KindInvalid, "alice/shop"},
		} {
			if _, err := n1.wish(c.verb, c.id); !isKind(err, c.kind) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestSubmitService(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		db := placement.Service{Name: "db", Replicas: 1, Request: placement.Request{V: 1, Image: "alice/db@sha256:1", Node: "n1"}}
		run := func(s placement.Service, node placement.NodeID) (placement.Submitted, error) {
			return w.l.SubmitService(t.Context(), "alice", "shop", s, node)
		}
		if s, err := run(db, "n1"); err != nil || len(s.Added) != 1 || s.Revision != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		w.place(n1)
		w.submit(placement.App{Owner: "alice", Name: "shop", Services: append(app(1).Services, db)})
		w.place(n1)
		if s, err := run(db, "n1"); err != nil || !s.Unchanged {
			t.Errorf("again: %+v, %v", s, err)
		}
		web := app(1).Services[0]
		web.Request.Node = "n2"
		if _, err := run(web, "n2"); !isKind(err, placement.KindConflict) {
			t.Errorf("n2 takes web over: %v", err)
		}
		if s, err := run(web, ""); err != nil || len(s.Changed) != 1 || len(s.Removed)+len(s.Added) != 0 {
			t.Errorf("an operator moves web: %+v, %v", s, err)
		}
		if _, err := w.l.Destroy(t.Context(), placement.Filter{Owner: "alice", App: "shop", Service: "db"}, "bob"); err != nil {
			t.Fatal(err)
		}
		if s, err := run(db, "n1"); err != nil || s.Unchanged || len(s.Added) != 1 || len(s.Destroyed) != 0 {
			t.Errorf("run after destroy: %+v, %v", s, err)
		}
		db.Replicas = -1
		if _, err := run(db, ""); !isKind(err, placement.KindInvalid) {
			t.Errorf("an invalid one: %v", err)
		}
	})
}

func TestWaitingIsInDueOrder(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		w.submit(app(3)) // of equal needs: only the first is offered
		big := app(1, func(r *placement.Request) { r.Needs.Memory = 1 << 40 })
		big.Name = "big"
		w.submit(big)
		pass := []placement.Pass{{Node: "n1", Reason: placement.Reason{Code: placement.ReasonMemory, Need: "1TiB", Have: "1GiB"}}}
		for range 2 {
			try := w.mustNext()
			if try.ID.Replica() == web1 {
				w.l.Settle(try, placement.Outcome{Passes: pass})
				time.Sleep(500 * time.Millisecond)
				continue
			}
			w.l.Settle(try, placement.Outcome{Passes: pass})
		}
		list, err := w.l.Waiting(t.Context(), placement.Filter{})
		if err != nil || len(list) != 4 {
			t.Fatalf("%+v, %v", list, err)
		}
		var names []placement.Replica
		for _, s := range list {
			names = append(names, s.Replica)
			if s.Why == "" || s.State != placement.Pending {
				t.Errorf("%s: %s, %q", s.Replica, s.State, s.Why)
			}
		}
		if first := slices.Index(names, web1); names[first+1] != web2 || names[first+2] != web3 {
			t.Errorf("order %v", names)
		}
		if list, _ = w.l.Waiting(t.Context(), placement.Filter{App: "big"}); len(list) != 1 {
			t.Errorf("filtered: %+v", list)
		}
	})
}
