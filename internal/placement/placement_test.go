package placement_test

import (
	"encoding/json"
	"strings"
	"testing"

	"longshore/internal/placement"
)

func TestReplicaNames(t *testing.T) {
	r, err := placement.ParseReplica("alice/shop/web/12")
	if err != nil {
		t.Fatal(err)
	}
	if r.Owner() != "alice" || r.App() != "shop" || r.Service() != "web" || r.Number() != 12 {
		t.Errorf("parts of %s: %s %s %s %d", r, r.Owner(), r.App(), r.Service(), r.Number())
	}
	for _, bad := range []string{
		"", "alice/shop/web", "alice/shop/web/1/2", "alice/shop/web/0", "alice/shop/web/01", "alice/shop/web/+1", "alice/shop/web/x",
		"/shop/web/1", "al.ice/shop/web/1", "alice/-shop/web/1", "alice/sh op/web/1", "alice/shop/" + strings.Repeat("w", 64) + "/1",
		"\u0430lice/shop/web/1", "\uff41lice/shop/web/1", "alice\u200b/shop/web/1", "al:ice/shop/web/1", "alice\n/shop/web/1", "alice/shop/web/\u0661", // twins
	} {
		if _, err := placement.ParseReplica(bad); err == nil {
			t.Errorf("%q passes as a replica", bad)
		}
	}
}

func TestPlacementNames(t *testing.T) {
	start := placement.NewStart(7, 0xbeef)
	r := placement.NewReplica("alice", "shop", "web", 3)
	id := r.Placement(start.Life(9))
	if got, err := placement.ParseID(string(id)); err != nil || got != id {
		t.Errorf("ParseID(%s) = %s, %v", id, got, err)
	}
	if id.Replica() != r || id.Owner() != "alice" || id.Life() != start.Life(9) {
		t.Errorf("parts of %s: %s %s %s", id, id.Replica(), id.Owner(), id.Life())
	}
	if want := "longshore.alice.shop.web.3." + string(start.Life(9)); id.ContainerName() != want {
		t.Errorf("container name %s, want %s", id.ContainerName(), want)
	}
	for _, bad := range []string{"", string(r), string(r) + ".", string(r) + ".1", string(id) + "0", "x." + string(start.Life(1))} {
		if _, err := placement.ParseID(bad); err == nil {
			t.Errorf("%q passes as a placement", bad)
		}
	}
}

// TestEpochOrder: the text order of epochs is the order of (start, counter),
// at the edges of every field.
func TestEpochOrder(t *testing.T) {
	var last placement.Epoch
	for _, s := range []placement.Start{0, 1, placement.NewStart(0, 0xffff), placement.NewStart(1, 0), placement.NewStart(1<<32-1, 0xffff)} {
		for _, n := range []uint32{0, 1, 9, 10, 1 << 31, 1<<32 - 1} {
			e := s.Epoch(n)
			if e <= last || !e.Valid() || e.Start() != s {
				t.Errorf("epoch %s after %s: valid %v, start %d, want %d", e, last, e.Valid(), e.Start(), s)
			}
			last = e
		}
	}
	if s := placement.NewStart(3, 4); s.Term() != 3 {
		t.Errorf("term of %d: %d", s, s.Term())
	}
	for _, bad := range []placement.Epoch{"", "1", "0000000000000000000G", "000000000000000000000"} {
		if bad.Valid() {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestOrders(t *testing.T) {
	marks := []placement.Mark{{}, {Rev: 1}, {Start: 1}, {Start: 1, Rev: 5}, {Gen: 1}, {Gen: 1, Start: 2, Rev: 1}}
	ops := []placement.SessionOp{{}, {Op: 9}, {Session: 1}, {Session: 1, Op: 1}, {Session: 2}}
	for i := 1; i < len(marks); i++ {
		if marks[i-1].Compare(marks[i]) >= 0 || marks[i].Compare(marks[i-1]) <= 0 || marks[i].Compare(marks[i]) != 0 {
			t.Errorf("%+v and %+v are out of order", marks[i-1], marks[i])
		}
	}
	for i := 1; i < len(ops); i++ {
		if ops[i-1].Compare(ops[i]) >= 0 || ops[i].Compare(ops[i-1]) <= 0 || ops[i].Compare(ops[i]) != 0 {
			t.Errorf("%+v and %+v are out of order", ops[i-1], ops[i])
		}
	}
}

// TestErrorCrossesTheWire: what a triple carries makes the same error again.
func TestErrorCrossesTheWire(t *testing.T) {
	for _, e := range []placement.Error{
		{Kind: placement.KindInvalid, What: "no", Why: "7 of 8", Next: "try 8"},
		{Kind: placement.KindNotFound, What: "no\nreally"},
		{Kind: placement.KindRefused, What: "no", Next: "ask"},
		{Kind: "Other", What: "why: is the sky blue", Why: "next: door"},
	} {
		if got := placement.ErrorFrom(e.ErrorName(), e.Error()); *got != e {
			t.Errorf("%+v came out as %+v", e, *got)
		}
	}
}

func TestDigest(t *testing.T) {
	one := placement.Request{V: 1, Image: "alice/shop@sha256:00", Env: []string{"A=1"}}
	if d := one.Digest(); d != one.Digest() || !strings.HasPrefix(d, "sha256:") || len(d) != 7+64 {
		t.Errorf("digest %s", d)
	}
	seen := map[string]bool{one.Digest(): true}
	for i, change := range []func(*placement.Request){
		func(r *placement.Request) { r.Env = []string{"A=2"} },
		func(r *placement.Request) { r.Command = []string{"x"} },
		func(r *placement.Request) { r.HAToken = "t" },
		func(r *placement.Request) { r.Needs.Memory = 1 },
		func(r *placement.Request) { r.Limits.Memory = 1 },
		func(r *placement.Request) { r.LostAfter = 1 },
	} {
		r := one
		change(&r)
		if seen[r.Digest()] {
			t.Errorf("change %d does not change the digest", i)
		}
		seen[r.Digest()] = true
	}
	b, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	var back placement.Request
	if err := json.Unmarshal(b, &back); err != nil || back.Digest() != one.Digest() {
		t.Errorf("after JSON: %s, %v, want %s", back.Digest(), err, one.Digest())
	}
}

func TestDomain(t *testing.T) {
	n := placement.NodeRecord{Node: "n1", Labels: map[string]string{"zone": "a"}, Reported: map[string]string{"rack": "7"}}
	for scope, want := range map[string]string{
		"": "node=n1", "node": "node=n1", "zone": "zone=a",
		"rack": "node=n1", // a node's own word does not count
	} {
		if got := n.Domain(scope); got != want {
			t.Errorf("domain in scope %q: %s, want %s", scope, got, want)
		}
	}
}

func TestReasonsRead(t *testing.T) {
	for want, r := range map[string]placement.Reason{
		"memory: need 2GiB, have 1.2GiB":        {Code: placement.ReasonMemory, Need: "2GiB", Have: "1.2GiB"},
		"ha_token web held by alice/shop/web/1": {Code: placement.ReasonHAToken, Need: "web", Have: "held by alice/shop/web/1"},
		"image: no such image":                  {Code: placement.ReasonImage, Text: "no such image"},
		"draining":                              {Code: placement.ReasonDraining},
		"not asked: given-up":                   {Code: string(placement.NodeGivenUp), Text: placement.NotAsked},
		"not asked: another node is wanted":     {Code: placement.ReasonNode, Text: placement.NotAsked},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	room := placement.Room{Capacity: placement.Resources{CPU: 2000, Memory: 10}, Promised: placement.Resources{CPU: 500, Memory: 4}}
	if free := room.Free(); free != (placement.Resources{CPU: 1500, Memory: 6}) || !free.Fits(placement.Resources{CPU: 1500}) || free.Fits(placement.Resources{Memory: 7}) {
		t.Errorf("free %+v", free)
	}
}
