package retryq_test

import (
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
)

// on tells how many of the three replicas run on a node.
func (w *world) on(node placement.NodeID) (n int) {
	for _, r := range []placement.Replica{web1, web2, web3} {
		if s := w.status(r); s.Node == node && s.State == placement.Running {
			n++
		}
	}
	return n
}

func TestDrainMovesOneAfterTheOther(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(3))
		for range 3 {
			w.place(n1)
		}
		epochs := map[placement.Replica]placement.ID{}
		for _, r := range []placement.Replica{web1, web2, web3} {
			epochs[r] = w.status(r).ID
		}
		if _, err := w.l.ChangeNode(placement.ActAs(t.Context(), "operator/bob"), placement.NodeChange{Node: "n1", Drain: new(true)}); err != nil {
			t.Fatal(err)
		}
		for moved := range 3 {
			synctest.Wait()
			time.Sleep(2 * time.Second)
			orders := n1.list()
			if len(orders) != 1 {
				t.Fatalf("%d moved: orders %v, want one replica at a time", moved, orders)
			}
			if here := w.on("n1"); here != 2-moved {
				t.Errorf("%d moved, and %d run on n1", moved, here)
			}
			if _, ok := w.next(time.Second); ok {
				t.Fatal("the new life is offered while the old copy is there")
			}
			n1.list() // it is gone
			if try := w.place(n2); try.ID == epochs[try.ID.Replica()] {
				t.Errorf("%s is the same life", try.ID)
			}
			if moved == 1 {
				w.restart() // the drain goes on
				n1.register()
				n2.register()
				n1.openLink()
				n2.openLink()
				n1.list()
				n2.list()
			}
		}
		time.Sleep(time.Minute)
		if orders := n2.list(); w.on("n2") != 3 || len(orders) != 0 {
			t.Errorf("%d run on n2, orders %v", w.on("n2"), orders)
		}
		if _, err := w.l.ChangeNode(t.Context(), placement.NodeChange{Node: "n1", Drain: new(false)}); err != nil {
			t.Fatal(err)
		}
		if try, ok := w.next(time.Minute); ok {
			t.Errorf("%s moves back", try.ID)
		}
		told := 0
		for _, line := range w.history(placement.LogFilter{Filter: placement.Filter{Node: "n1"}}) {
			if line.By == "rollout" && line.Why == "moves away: its node is drained" && !line.Gone {
				told++
			}
		}
		if told != 3 {
			t.Errorf("the log tells of %d moves", told)
		}
	})
}

// TestDrainOfAFullCluster: without a place elsewhere one replica waits, and the
// others run on; undrain lets it come back.
func TestDrainOfAFullCluster(t *testing.T) {
	onBoth(t, func(w *world) {
		n1 := w.node("n1")
		w.submit(app(3))
		for range 3 {
			w.place(n1)
		}
		if _, err := w.l.ChangeNode(w.t.Context(), placement.NodeChange{Node: "n1", Drain: new(true)}); err != nil {
			w.t.Fatal(err)
		}
		for range 10 {
			synctest.Wait()
			time.Sleep(2 * time.Second)
			n1.list()
		}
		if here := w.on("n1"); here != 2 {
			w.t.Errorf("%d run on, want 2", here)
		}
		if _, err := w.l.ChangeNode(w.t.Context(), placement.NodeChange{Node: "n1", Drain: new(false)}); err != nil {
			w.t.Fatal(err)
		}
		w.place(n1)
		time.Sleep(time.Minute)
		if orders := n1.list(); w.on("n1") != 3 || len(orders) != 0 {
			w.t.Errorf("%d run on, orders %v", w.on("n1"), orders)
		}
	})
}
