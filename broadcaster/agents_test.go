package broadcaster_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// wantKind checks the name of an error triple.
func wantKind(t *testing.T, err error, kind string) *placement.Error {
	t.Helper()
	var remote *rpc.RemoteError
	if !errors.As(err, &remote) || remote.Name != kind {
		t.Fatalf("got %v, want an error %s", err, kind)
	}
	return placement.ErrorFrom(remote.Name, remote.Message)
}

func (w *world) nodeStatus(name placement.NodeID) placement.NodeStatus {
	w.t.Helper()
	var all []placement.NodeStatus
	if err := w.dial("client", nil).Call(w.t.Context(), "nodes", &all); err != nil {
		w.t.Fatal(err)
	}
	for _, n := range all {
		if n.Node == name {
			return n
		}
	}
	w.t.Fatalf("no node %s", name)
	return placement.NodeStatus{}
}

func TestUnregisteredLinkIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		l := w.dial("n01", nil)
		ctx := t.Context()
		wantKind(t, l.Call(ctx, "bind", nil, placement.Bind{Cluster: "c1", Node: "n01"}), placement.KindRegister)
		wantKind(t, l.Call(ctx, "progress", nil, placement.Progress{Cluster: "c1", Node: "n01"}), placement.KindRegister)
		wantKind(t, l.Call(ctx, "failed", nil, placement.Failed{Cluster: "c1", Node: "n01"}), placement.KindRegister)
		if n := w.nodeStatus("n01"); n.Agent {
			t.Error("a node that has not registered has an agent")
		}
		if err := w.register(l, "n01"); err != nil {
			t.Fatal(err)
		}
		if n := w.nodeStatus("n01"); !n.Agent {
			t.Error("the registered node has no agent")
		}
		var answer placement.BindAnswer
		if err := l.Call(ctx, "bind", &answer, placement.Bind{Cluster: "c1", Node: "n01", At: placement.SessionOp{Session: 1, Op: 9}}); err != nil || answer.Verdict != placement.VerdictYes || answer.At.Op != 9 {
			t.Errorf("bind: %+v, %v", answer, err)
		}
		if err := l.Call(ctx, "progress", nil, placement.Progress{Cluster: "c1", Node: "n01", Phase: "locked"}); err != nil || len(w.ledger.progress) != 1 {
			t.Errorf("progress: %v, %v", w.ledger.progress, err)
		}
		wantKind(t, l.Call(ctx, "bind", nil, placement.Bind{Cluster: "c1", Node: "n02"}), placement.KindRegister)
		wantKind(t, l.Call(ctx, "bind", nil, placement.Bind{Cluster: "c2", Node: "n01"}), placement.KindRefused)
		wantKind(t, w.register(l, "n02"), placement.KindRefused)
		wantKind(t, w.register(l, "a/b"), placement.KindInvalid)
		wantKind(t, l.Call(ctx, "register", nil, placement.Register{V: 99, Node: "n01"}), placement.KindInvalid)
		wantKind(t, l.Call(ctx, "register", nil, placement.Register{V: 1, Node: "n01", Cluster: "c2"}), placement.KindRefused)
		l.Close()
		synctest.Wait()
		if n := w.nodeStatus("n01"); n.Agent {
			t.Error("the node that left has an agent")
		}
	})
}

// TestReconnect: the new link speaks for the node once the old one has ended.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		w.node("n01", passes("cpu")).Close()
		synctest.Wait()
		w.node("n01", takes)
		if got := w.offer(placement.Try{}); got.Taken != "n01" {
			t.Errorf("taken by %q", got.Taken)
		}
	})
}

// TestGivenUpNodeMustRegisterAgain: else its copies, which another took the
// place of, would never be told to stop.
func TestGivenUpNodeMustRegisterAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		old, yes := w.node("n01", takes), true
		if err := w.dial("client", nil).Call(t.Context(), "node_change", nil, placement.NodeChange{Node: "n01", GiveUp: &yes}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-old.Done():
		case <-time.After(time.Minute):
			t.Fatal("its link is still open, so its agent knows nothing of it")
		}
		if n := w.nodeStatus("n01"); n.Agent {
			t.Error("the node that was given up has an agent")
		}
	})
}

// TestDeadOldLink: a link that does not answer gives way to the new one.
func TestDeadOldLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		old := w.dial("old", nil)
		if err := w.register(old, "n01"); err != nil {
			t.Fatal(err)
		}
		w.transport.Messages(func(h rpc.Hop) rpc.Fate { return rpc.Fate{Drop: h.Identity == "old"} })
		begin := time.Now()
		w.node("n01", takes)
		if took := time.Since(begin); took > 1100*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if got := w.offer(placement.Try{}); got.Taken != "n01" {
			t.Errorf("taken by %q", got.Taken)
		}
		select {
		case <-old.Done():
		case <-time.After(time.Minute):
			t.Error("the old link is still open")
		}
	})
}

// TestImpatientSecond: who leaves before the first link was heard changes
// nothing.
func TestImpatientSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		first := w.dial("n01", rpc.Methods{
			"room": rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) {
				time.Sleep(500 * time.Millisecond)
				return nil, nil
			}),
			"offer": rpc.Unary("", "offer", func(ctx context.Context, _ *rpc.Call, o placement.Offer) (placement.OfferAnswer, error) {
				return takes(ctx, o)
			}),
		})
		if err := w.register(first, "n01"); err != nil {
			t.Fatal(err)
		}
		second := w.dial("n01", nil)
		time.AfterFunc(100*time.Millisecond, func() { second.Close() })
		if err := w.register(second, "n01"); err == nil {
			t.Error("the second session was registered")
		}
		time.Sleep(time.Second)
		if got := w.offer(placement.Try{}); got.Taken != "n01" {
			t.Errorf("taken by %q, want the first session", got.Taken)
		}
	})
}

// TestSecondSession: of two agents with one name the first keeps its link; both
// get no new work, and the node's status says why.
func TestSecondSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		w.node("n01", takes)
		second := w.dial("n01", nil)
		e := wantKind(t, w.register(second, "n01"), placement.KindRefused)
		if e.Next == "" || !strings.Contains(e.What, "n01") {
			t.Errorf("error %+v", e)
		}
		n := w.nodeStatus("n01")
		if n.Agent || len(n.Alarms) != 1 || !strings.Contains(n.Alarms[0], "two live sessions") {
			t.Errorf("status %+v", n)
		}
		if got := w.offer(placement.Try{}); got.Asked != 0 || got.Ignored["no_agent"] != 1 {
			t.Errorf("outcome %+v", got)
		}
		second.Close()
		time.Sleep(31 * time.Second)
		if n := w.nodeStatus("n01"); !n.Agent || len(n.Alarms) != 0 {
			t.Errorf("status after the second session %+v", n)
		}
		if got := w.offer(placement.Try{ID: id(7)}); got.Taken != "n01" {
			t.Errorf("taken by %q", got.Taken)
		}
	})
}

// TestSecondSessionKeepsAsking: two agents with one name on one machine do not
// take turns; the first keeps its link for as long as it answers.
func TestSecondSessionKeepsAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		first := w.node("n01", takes)
		for range 5 {
			second := w.dial("n01", nil)
			wantKind(t, w.register(second, "n01"), placement.KindRefused)
			second.Close()
			time.Sleep(time.Second)
		}
		if n := w.nodeStatus("n01"); n.Agent || len(n.Alarms) != 1 {
			t.Errorf("status %+v", n)
		}
		select {
		case <-first.Done():
			t.Error("the first link was closed")
		default:
		}
	})
}

func TestStopOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		got := make(chan placement.StopOrder, 10)
		l := w.dial("n01", rpc.Methods{"stop": rpc.Unary("", "order", func(_ context.Context, _ *rpc.Call, o placement.StopOrder) (any, error) {
			time.Sleep(time.Second)
			got <- o
			return nil, nil
		})})
		if err := w.register(l, "n01"); err != nil {
			t.Fatal(err)
		}
		for range 3 { // the same order while it is on its way
			w.ledger.orders <- order{"n01", placement.StopOrder{ID: id(1), Epoch: "e"}}
		}
		w.ledger.orders <- order{"n02", placement.StopOrder{ID: id(2)}} // not connected
		w.ledger.orders <- order{"n01", placement.StopOrder{ID: id(3)}}
		time.Sleep(1100 * time.Millisecond)
		if len(got) != 2 {
			t.Errorf("%d orders arrived, want 2", len(got))
		}
		w.ledger.orders <- order{"n01", placement.StopOrder{ID: id(1), Epoch: "e"}}
		time.Sleep(1100 * time.Millisecond)
		if len(got) != 3 {
			t.Errorf("%d orders arrived, want the first one again", len(got))
		}
	})
}
