package retryq_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"longshore/internal/placement"
)

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func TestSubmitToRunning(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		s := w.submit(app(2))
		if !slices.Equal(s.Added, []placement.Replica{web1, web2}) || s.Unchanged || s.Revision != 1 {
			t.Errorf("submitted: %+v", s)
		}
		w.expect(web1, placement.Pending, "")
		first := w.place(n1)
		if first.ID.Replica() != web1 {
			t.Errorf("%s is offered first", first.ID)
		}
		w.expect(web1, placement.Running, "n1")
		w.place(n1)
		w.expect(web2, placement.Running, "n1")
		if _, ok := w.next(time.Hour); ok {
			t.Error("something is due though all runs")
		}
		if again := w.submit(app(2)); !again.Unchanged || again.Revision != 1 {
			t.Errorf("the same again: %+v", again)
		}
	})
}

func TestOnlyTheOldestOfEqualNeedsIsOffered(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(3))
		first := w.mustNext()
		if try, ok := w.next(time.Hour); ok {
			t.Fatalf("%s is offered beside %s", try.ID, first.ID)
		}
		w.l.Settle(first, placement.Outcome{Asked: 1, Passes: []placement.Pass{{Node: "n1", Reason: placement.Reason{Code: placement.ReasonMemory, Need: "1 MiB", Have: "0"}}}})
		if s := w.status(web2); s.Why == "" || len(s.Refusals) != 1 {
			t.Errorf("web/2 does not say why it waits: %+v", s)
		}
		begun := time.Now()
		first = w.mustNext()
		if wait := time.Since(begun); first.ID.Replica() != web1 || wait < time.Second || wait > 3*time.Second || first.Tries != 1 {
			t.Errorf("%s is due after %s, try %d", first.ID, wait, first.Tries)
		}
		w.l.Settle(first, placement.Outcome{Taken: "n1", Asked: 1})
		begun = time.Now()
		second := w.mustNext()
		if wait := time.Since(begun); second.ID.Replica() != web2 || wait != 0 {
			t.Errorf("%s is due after %s", second.ID, wait)
		}
		n1.bind(first)
	})
}

func TestRemoveWaitsForProof(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1, ha))
		w.place(n1)
		gone, err := w.l.Remove(t.Context(), "alice", "shop")
		if err != nil || !slices.Equal(gone, []placement.Replica{web1}) {
			t.Fatalf("remove: %v, %v", gone, err)
		}
		node, order, err := w.l.NextOrder(t.Context())
		if err != nil || node != "n1" || order.ID.Replica() != web1 {
			t.Fatalf("order: %v for %s, %v", order, node, err)
		}
		w.submit(app(1, ha))
		if _, ok := w.next(time.Minute); ok {
			t.Fatal("the new life is due while the old copy is there")
		}
		if orders := n1.list(); len(orders) != 1 || orders[0].Epoch != order.Epoch {
			t.Fatalf("orders: %v", orders)
		}
		n1.list()
		w.place(n1)
		w.expect(web1, placement.Running, "n1")
		if _, err := w.l.Remove(t.Context(), "alice", "none"); !isKind(err, placement.KindNotFound) {
			t.Errorf("remove nothing: %v", err)
		}
	})
}

// TestRemoveCallsOffersBack: a node that works on an offer hears at once that
// the placement was removed, whether it took it before or while that happened.
func TestRemoveCallsOffersBack(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		for _, before := range []bool{true, false} {
			w.submit(app(1, ha))
			try := w.mustNext()
			settle := func() { w.l.Settle(try, placement.Outcome{Taken: "n1", Asked: 1}) }
			if before {
				settle()
			}
			if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
				t.Fatal(err)
			}
			if !before {
				settle()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			node, order, err := w.l.NextOrder(ctx)
			cancel()
			if err != nil || node != "n1" || order.ID != try.ID || order.Epoch != try.Epoch {
				t.Errorf("taken before the removal %v: order %v for %q, %v", before, order, node, err)
			}
		}
	})
}

func isKind(err error, kind string) bool {
	var e *placement.Error
	return errors.As(err, &e) && e.Kind == kind
}
