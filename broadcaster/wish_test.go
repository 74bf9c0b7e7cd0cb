package broadcaster_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"longshore/internal/placement"
)

func TestWishesOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, plainImages)
		c, ctx := w.dial("client", nil), t.Context()
		one := placement.Filter{Replica: "alice/shop/web/1"}
		for verb, said := range map[string]string{
			"stop":    "stop alice/shop/web/1 by operator",
			"start":   "start alice/shop/web/1",
			"destroy": "destroy alice/shop/web/1 by operator",
		} {
			var names []placement.Replica
			if err := c.Call(ctx, verb, &names, one); err != nil || len(names) != 1 || w.wishes.last() != said {
				t.Errorf("%s: %v, %v, said %q", verb, names, err, w.wishes.last())
			}
			for _, f := range []placement.Filter{{}, {Owner: "alice"}, {App: "shop"}, {Service: "web"}, {Node: "n1"}, {Owner: "a/b", App: "shop"}, {Owner: "alice", App: "shop", Service: "*"}} {
				wantKind(t, c.Call(ctx, verb, nil, f), placement.KindInvalid)
			}
		}
		var waiting []placement.Status
		if err := c.Call(ctx, "queue", &waiting, placement.Filter{Owner: "bob"}); err != nil || waiting[0].Replica != "bob/shop/web/1" {
			t.Errorf("queue: %v, %v", waiting, err)
		}
		wantKind(t, c.Call(ctx, "queue", nil, placement.Filter{Owner: "*"}), placement.KindInvalid)
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, plainImages)
		c, ctx := w.dial("client", nil), t.Context()
		err := c.Call(ctx, "run", nil, placement.Container{ID: "alice/shop/web", Image: "nginx", Node: "n7", CPUs: 0.5, Memory: 1 << 20})
		if want := "submit alice shop web alice/nginx@sha256:1 on n7 for "; err != nil || w.wishes.last() != want {
			t.Errorf("%v, said %q", err, w.wishes.last())
		}
		for name, bad := range map[string]placement.Container{
			"no id":      {Image: "nginx"},
			"short id":   {ID: "shop/web", Image: "nginx"},
			"replica":    {ID: "alice/shop/web/1", Image: "nginx"},
			"bad name":   {ID: "alice/sh op/web", Image: "nginx"},
			"no image":   {ID: "alice/shop/web"},
			"cpus":       {ID: "alice/shop/web", Image: "nginx", CPUs: -1},
			"no number":  {ID: "alice/shop/web", Image: "nginx", CPUs: math.NaN()},
			"many cpus":  {ID: "alice/shop/web", Image: "nginx", CPUs: 1e30},
			"memory":     {ID: "alice/shop/web", Image: "nginx", Memory: -1},
			"bad port":   {ID: "alice/shop/web", Image: "nginx", Ports: []placement.Port{{Host: 80}}},
			"bad policy": {ID: "alice/shop/web", Image: "nginx", Restart: "sometimes"},
		} {
			t.Log(name)
			e := wantKind(t, c.Call(ctx, "run", nil, bad), placement.KindInvalid)
			if e.What == "" || e.Next == "" {
				t.Errorf("%s: %+v", name, e)
			}
		}
	})
}

func TestWishesOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		n, ctx := w.node("n01", takes), t.Context()
		wish := func(change func(*placement.Wish)) (a placement.Wished, err error) {
			q := placement.Wish{V: 1, Cluster: "c1", Node: "n01", Verb: placement.WishStop, ID: "alice/shop/web/1.00000000000000000001", By: "operator/bob"}
			if change != nil {
				change(&q)
			}
			err = n.Call(ctx, "wish", &a, q)
			return a, err
		}
		if a, err := wish(nil); err != nil || a.State != placement.Done || w.wishes.last() != "n01 wishes stop alice/shop/web/1.00000000000000000001 for operator/bob" {
			t.Errorf("%+v, %v, said %q", a, err, w.wishes.last())
		}
		a, err := wish(func(q *placement.Wish) {
			q.Verb, q.Container = placement.WishCreate, &placement.Container{ID: "alice/shop/db", Image: "pg"}
		})
		if err != nil || !strings.HasSuffix(w.wishes.last(), "on n01 for n01") {
			t.Errorf("create: %+v, %v, said %q", a, err, w.wishes.last())
		}
		for _, off := range []bool{false, true} {
			if _, err := wish(func(q *placement.Wish) { q.Verb, q.Off = placement.WishDrain, off }); err != nil || w.ledger.records["n01"].Draining == off {
				t.Errorf("drain, off %v: %v, %+v", off, err, w.ledger.records["n01"])
			}
		}
		for kind, changes := range map[string][]func(*placement.Wish){
			placement.KindRegister: {func(q *placement.Wish) { q.Node = "n02" }}, // it speaks for itself only
			placement.KindRefused:  {func(q *placement.Wish) { q.Cluster = "c2" }},
			placement.KindInvalid: {
				func(q *placement.Wish) { q.V = 9 },
				func(q *placement.Wish) { q.By = "" },
				func(q *placement.Wish) { q.By = "a\nb" },
				func(q *placement.Wish) { q.Verb = placement.WishCreate },
				func(q *placement.Wish) {
					q.Verb, q.Container = placement.WishCreate, &placement.Container{ID: "alice/shop/db", Image: "pg", Node: "n02"}
				},
			},
		} {
			for i, change := range changes {
				before := w.wishes.last()
				if _, err := wish(change); err == nil {
					t.Errorf("%s %d passes", kind, i)
				} else {
					wantKind(t, err, kind)
				}
				if w.wishes.last() != before {
					t.Errorf("%s %d: something was wished: %q", kind, i, w.wishes.last())
				}
			}
		}
	})
}

// TestStartedIsOfferedToItsNode: a try that names a node goes there alone.
func TestStartedIsOfferedToItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(3), plainImages)
		for _, n := range []string{"n01", "n02", "n03"} {
			w.node(n, takes)
		}
		if s := w.offer(placement.Try{Node: "n02"}); s.Taken != "n02" || s.Asked != 1 {
			t.Errorf("%+v", s)
		}
	})
}
