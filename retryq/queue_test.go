package retryq_test

import (
	"testing"
	"time"

	"longshore/internal/placement"
)

func pass(n placement.NodeID, code string) placement.Outcome {
	return placement.Outcome{Asked: 1, Passes: []placement.Pass{{Node: n, Reason: placement.Reason{Code: code}}}}
}

func TestProgressKeepsAPlacementInHand(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		w.submit(app(1))
		try := w.mustNext()
		say := func(node placement.NodeID, given *placement.Reason) {
			w.l.Progress(placement.Progress{Cluster: w.l.Cluster(), Node: node, ID: try.ID, Epoch: try.Epoch, Phase: "pulling", Given: given})
		}
		say("n1", nil)
		w.l.Settle(try, placement.Outcome{Asked: 3}) // it answered too late for the chain
		for range 10 {
			if _, ok := w.next(10 * time.Second); ok {
				t.Fatal("offered again while a node works on it")
			}
			say("n1", nil)
		}
		begun := time.Now()
		try = w.mustNext()
		if quiet := time.Since(begun); quiet < 15*time.Second || quiet > 17*time.Second {
			t.Errorf("due again after %s without a word", quiet)
		}
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		say("n2", nil)
		say("n1", &placement.Reason{Code: placement.ReasonLock})
		if _, ok := w.next(10 * time.Second); ok {
			t.Fatal("offered again while the other node works on it")
		}
		begun = time.Now()
		say("n2", &placement.Reason{Code: placement.ReasonLock})
		if try = w.mustNext(); time.Since(begun) > 3*time.Second || !try.Lockless {
			t.Errorf("given up by all: due after %s, lockless %v", time.Since(begun), try.Lockless)
		}
	})
}

func TestGivenUpBeforeItIsSettled(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		w.submit(app(1))
		try := w.mustNext()
		w.l.Progress(placement.Progress{Cluster: w.l.Cluster(), Node: "n1", ID: try.ID, Epoch: try.Epoch, Given: &placement.Reason{Code: placement.ReasonMemory}})
		w.l.Settle(try, placement.Outcome{Asked: 1, Taken: "n1"})
		begun := time.Now()
		w.mustNext()
		if waited := time.Since(begun); waited > 3*time.Second {
			t.Errorf("due again after %s", waited)
		}
		if s := w.status(web1); len(s.Refusals) != 1 || s.Refusals[0].Reason.Code != placement.ReasonMemory {
			t.Errorf("refusals: %+v", s.Refusals)
		}
	})
}

func TestMoreRoomHurriesTheSmallestAndTheOldest(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		sizes := []int64{50, 40, 10, 30}
		a := placement.App{V: 1, Owner: "alice", Name: "shop"}
		for i, mem := range sizes {
			s := app(1).Services[0]
			s.Name = string(rune('a' + i))
			s.Request.Needs.Memory = mem
			a.Services = append(a.Services, s)
		}
		w.submit(a)
		for range 6 { // until all back off for long
			for range sizes {
				try := w.mustNext()
				w.l.Settle(try, pass("n1", placement.ReasonMemory))
			}
		}
		w.l.MoreRoom("n1", placement.Resources{CPU: 1000, Memory: 45})
		var got []string
		for range 2 {
			try, ok := w.next(time.Millisecond)
			if !ok {
				t.Fatalf("only %v are due", got)
			}
			got = append(got, try.ID.Replica().Service())
			w.l.Settle(try, pass("n1", placement.ReasonMemory))
		}
		if got[0] != "b" || got[1] != "c" {
			t.Errorf("%v are due, want the oldest that fits (b) and the smallest (c)", got)
		}
		if try, ok := w.next(time.Millisecond); ok {
			t.Errorf("%s is due too", try.ID)
		}
	})
}

func TestHATokenByDomain(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2, n3 := w.node("n1"), w.node("n2"), w.node("n3")
		for node, zone := range map[placement.NodeID]string{"n1": "a", "n2": "a", "n3": "b"} {
			if _, err := w.l.ChangeNode(t.Context(), placement.NodeChange{Node: node, Labels: map[string]string{"zone": zone}}); err != nil {
				t.Fatal(err)
			}
		}
		w.submit(app(3, ha, func(r *placement.Request) { r.HADomain = "zone" }))
		w.place(n1)
		try := w.mustNext()
		if len(try.Barred) != 2 || try.Barred[0].Node != "n1" || try.Barred[1].Node != "n2" {
			t.Errorf("barred: %v", try.Barred)
		}
		w.l.Settle(try, placement.Outcome{Taken: "n2"})
		if a := n2.bind(try); a.Verdict != placement.VerdictNo {
			t.Fatalf("two of a token in one zone: %+v", a)
		}
		if s := w.status(web2); len(s.Refusals) != 1 || s.Refusals[0].Reason.Have != "held by alice/shop/web/1" {
			t.Errorf("refusals: %+v", s.Refusals)
		}
		w.place(n3)
		// The third waits; when a slot is free it is due at once.
		third := w.mustNext()
		if len(third.Barred) != 3 {
			t.Errorf("barred: %v", third.Barred)
		}
		w.l.Settle(third, placement.Outcome{Passes: third.Barred})
		if s := w.status(web3); s.Why != "3 of 3 nodes: ha_token web held by alice/shop/web/1" {
			t.Errorf("why: %s", s.Why)
		}
		w.lose("n3", time.Minute, false)
		if try, ok := w.next(time.Millisecond); !ok {
			t.Error("nothing is due though a slot is free")
		} else {
			w.l.Settle(try, pass("n3", placement.ReasonMemory))
		}
	})
}

func TestDraining(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		const pinned = placement.Replica("alice/local/web/1")
		local := app(1, func(r *placement.Request) { r.Node = "n1" })
		local.Name = "local"
		w.submit(local)
		first := w.place(n1)
		w.submit(app(1))
		record, err := w.l.ChangeNode(t.Context(), placement.NodeChange{Node: "n1", Drain: new(true)})
		if err != nil || !record.Draining {
			t.Fatalf("drain: %+v, %v", record, err)
		}
		try := w.mustNext()
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		if a := n1.bind(try); a.Verdict != placement.VerdictNo {
			t.Errorf("new work on a draining node: %+v", a)
		}
		w.expect(pinned, placement.Running, "n1")
		n1.at.Op++
		if a := n1.ask(placement.Bind{ID: first.ID, Epoch: first.Epoch, Digest: first.Request.Digest(), At: n1.at, Exit: new(1)}); a.Verdict != placement.VerdictNo {
			t.Errorf("an exit on a draining node: %+v", a)
		}
		w.expect(pinned, placement.Pending, "")
		nodes, err := w.l.Nodes(t.Context())
		if err != nil || len(nodes) != 1 || !nodes[0].Draining {
			t.Errorf("nodes: %+v, %v", nodes, err)
		}
		if _, err := w.l.ChangeNode(t.Context(), placement.NodeChange{Node: "n9"}); !isKind(err, placement.KindNotFound) {
			t.Errorf("no such node: %v", err)
		}
	})
}
