package retryq_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/memstore"
)

// back has the nodes speak to a new start of the ledger, all of them until they
// know its generation, as agents do with each beat.
func back(nodes ...*node) {
	for range 2 {
		for _, n := range nodes {
			if n.mark.Gen < n.w.l.Mark().Gen || n.mark.Start != n.w.l.Mark().Start {
				n.openLink()
				n.register()
			}
		}
	}
	for _, n := range nodes {
		if orders := n.list(); len(orders) != 0 {
			n.w.t.Fatalf("%s is ordered to stop while the ledger holds: %v", n.name, orders)
		}
	}
	synctest.Wait() // the requests are fetched
}

// running is what runs, by node and placement.
func running(nodes ...*node) map[placement.NodeID]map[placement.ID]placement.Copy {
	all := make(map[placement.NodeID]map[placement.ID]placement.Copy)
	for _, n := range nodes {
		all[n.name] = maps.Clone(n.copies)
	}
	return all
}

// goOn checks that the ledger holds no longer, shows just what ran before as
// running, and has nothing left to do.
func (w *world) goOn(before map[placement.NodeID]map[placement.ID]placement.Copy, nodes ...*node) {
	w.t.Helper()
	if why := w.l.Holding(); why != "" {
		w.t.Fatalf("holding: %s", why)
	}
	if try, ok := w.next(20 * time.Second); ok {
		w.t.Fatalf("%s is offered", try.ID)
	}
	copies := 0
	for _, n := range nodes {
		for range 2 {
			if orders := n.list(); len(orders) != 0 {
				w.t.Errorf("%s is ordered to stop: %v", n.name, orders)
			}
		}
		if unknown := w.l.Unknown(n.name); len(unknown) != 0 {
			w.t.Errorf("%s has unknown copies: %v", n.name, unknown)
		}
		for id, c := range before[n.name] {
			copies++
			s := w.status(id.Replica())
			if s.ID != id || s.State != placement.Running || s.Node != n.name || s.Epoch != c.Epoch {
				w.t.Errorf("%s runs on %s; the ledger says %s of %s on %q: %s", id, n.name, s.State, s.ID, s.Node, s.Why)
			}
		}
	}
	all, err := w.l.Statuses(w.t.Context(), placement.Filter{All: true})
	if err != nil || len(all) != copies {
		w.t.Errorf("%d copies run, the ledger has %d placements: %v, %v", copies, len(all), all, err)
	}
}

// bobs is an app of another owner.
func bobs(n int) placement.App {
	a := app(n)
	a.Owner = "bob"
	return a
}

func TestRolledBackLedgerTakesInWhatItDoesNotKnow(t *testing.T) {
	onFile(t, func(w *world, rollBack func()) {
		t := w.t
		n1, n2, n3 := w.node("n1"), w.node("n2"), w.node("n3")
		w.submit(app(1, ha))
		w.place(n1)
		rollBack() // saves
		back(n1, n2, n3)
		// In the lost history the app is changed, scaled up and gets a service,
		// and another one is submitted.
		changed := app(2, ha, image(2))
		changed.Services = append(changed.Services, placement.Service{Name: "api", Replicas: 1, Request: placement.Request{V: 1, Image: "alice/api@sha256:1"}})
		w.submit(changed)
		w.place(n2)
		w.place(n3)
		n1.list()
		n1.list() // the first life of web/1 is gone
		w.place(n1)
		w.submit(bobs(1))
		w.place(n1)
		before := running(n1, n2, n3)
		if len(before["n1"]) != 2 || len(before["n2"]) != 1 || len(before["n3"]) != 1 {
			t.Fatalf("there run %v", before)
		}
		rollBack()
		back(n1, n2, n3)
		w.goOn(before, n1, n2, n3)
		if s := w.submit(changed); !s.Unchanged {
			t.Errorf("the same app again: %+v", s)
		}
		if s := w.submit(bobs(1)); !s.Unchanged {
			t.Errorf("bob's app again: %+v", s)
		}
		if _, err := w.l.Remove(t.Context(), "bob", "shop"); err != nil {
			t.Fatal(err)
		}
		if orders := n1.list(); len(orders) != 1 || orders[0].ID.Owner() != "bob" {
			t.Errorf("orders after rm: %v", orders)
		}
	})
}

// lost begins a cluster, and then makes its ledger anew in a store that is
// empty. nodes is what the operator tells.
func lost(t *testing.T, nodes int, before func(w *world), after func(w *world)) {
	t.Helper()
	onBoth(t, func(w *world) {
		before(w)
		cluster := w.l.Cluster()
		w.stop()
		empty(w)
		w.change = func(c *retryq.Config) { c.Cluster, c.Rebuild, c.Nodes = cluster, true, nodes }
		w.start()
		w.change = nil // the flags are for the first start only
		after(w)
	})
}

// empty deletes everything in the store, but it is another one by its revision.
func empty(w *world) {
	w.t.Helper()
	ctx := w.t.Context()
	var keys []string
	for _, kind := range []string{"m/", "a/", "r/", "p/", "t/", "h/", "n/"} {
		if err := w.store.Scan(ctx, kind, func(i retryq.Item) error { keys = append(keys, i.Key); return nil }); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.store.Commit(ctx, retryq.Txn{Delete: keys}); err != nil {
		w.t.Fatal(err)
	}
}

func TestLostLedgerIsMadeAnew(t *testing.T) {
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
		gen := n1.mark.Gen
		back(n1)
		if w.l.Holding() == "" || w.l.Mark().Gen <= gen {
			t.Fatalf("after one of two nodes: mark %+v, holding %q", w.l.Mark(), w.l.Holding())
		}
		if _, err := w.l.Remove(t.Context(), "bob", "shop"); !isKind(err, placement.KindUnavailable) {
			t.Errorf("rm of what is not known yet: %v", err)
		}
		w.restart()
		back(n1)
		if w.l.Holding() == "" {
			t.Fatal("a restart forgot how many nodes to wait for")
		}
		back(n1, n2)
		w.goOn(before, n1, n2)
		if s := w.submit(app(2, ha)); !s.Unchanged {
			t.Errorf("the same app again: %+v", s)
		}
		w.restart()
		back(n1, n2)
		w.goOn(before, n1, n2)
	})
}

func TestLostLedgerWaitsForNodesThatItDoesNotKnow(t *testing.T) {
	var n1, n2 *node
	var before map[placement.NodeID]map[placement.ID]placement.Copy
	lost(t, 0, func(w *world) {
		n1, n2 = w.node("n1"), w.node("n2")
		w.submit(app(2, ha))
		w.place(n1)
		w.place(n2)
		before = running(n1, n2)
	}, func(w *world) {
		t := w.t
		time.Sleep(10 * time.Minute)
		if w.l.Holding() == "" {
			t.Fatal("it went on without any node")
		}
		back(n1)
		time.Sleep(59 * time.Second)
		if w.l.Holding() == "" {
			t.Fatal("it did not wait for others")
		}
		back(n2)
		time.Sleep(2 * time.Second)
		w.goOn(before, n1, n2)
	})
}

// A store that is cut off after so many commits.
type mortal struct {
	retryq.Store
	left atomic.Int64
}

func (m *mortal) Commit(ctx context.Context, t retryq.Txn) (uint64, error) {
	if m.left.Add(-1) < 0 {
		return 0, retryq.ErrClosed
	}
	return m.Store.Commit(ctx, t)
}

// TestKilledWhileTakingIn: whatever the last commit before its death was, the
// next start takes in the rest.
func TestKilledWhileTakingIn(t *testing.T) {
	survived := false
	for cut := int64(0); !survived && cut < 100; cut++ {
		var n1, n2 *node
		var before map[placement.NodeID]map[placement.ID]placement.Copy
		lost(t, 2, func(w *world) {
			n1, n2 = w.node("n1"), w.node("n2")
			w.submit(app(2, ha))
			w.place(n1)
			w.place(n2)
			w.submit(bobs(2))
			w.place(n1)
			w.place(n2)
			before = running(n1, n2)
		}, func(w *world) {
			back(n1)
			w.stop()
			store := w.store
			m := &mortal{Store: store}
			m.left.Store(1000)
			w.store = m
			w.start()
			back(n1)
			n2.openLink()
			n2.register()
			m.left.Store(cut)
			n2.tryList()
			synctest.Wait()
			survived = m.left.Load() >= 0
			w.stop = func() {}
			w.store = store
			w.start()
			back(n1, n2)
			w.goOn(before, n1, n2)
		})
	}
	if !survived {
		t.Fatal("it never took all in")
	}
}

func TestWithoutItsRequestACopyStaysInQuarantine(t *testing.T) {
	down := errors.New("the link is down")
	for _, c := range []struct {
		name string
		do   func(f *files)
		why  string
	}{
		{"no file", func(f *files) { f.lose("n1") }, "n1: there is no file"},
		{"another request", func(f *files) { f.others = true }, "n1: what it gave is another request"},
		{"no answer", func(f *files) { f.fail("n1", down) }, "n1: the link is down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n1 *node
			lost(t, 1, func(w *world) {
				n1 = w.node("n1")
				w.submit(app(1))
				w.place(n1)
				c.do(&w.files)
			}, func(w *world) {
				t := w.t
				back(n1)
				if held := w.l.Holding() != ""; held != (c.name == "no answer") {
					t.Errorf("holding: %q", w.l.Holding())
				}
				time.Sleep(61 * time.Second)
				if why := w.l.Holding(); why != "" {
					t.Fatalf("holding: %q", why)
				}
				for range 3 {
					if orders := n1.list(); len(orders) != 0 {
						t.Fatalf("it is stopped: %v", orders)
					}
				}
				if unknown := w.l.Unknown("n1"); len(unknown) != 1 || !strings.Contains(unknown[0].Why, c.why) {
					t.Errorf("unknown: %v", unknown)
				}
			})
		})
	}
}

func TestRequestIsHadFromAnotherNode(t *testing.T) {
	var n1, n2 *node
	var before map[placement.NodeID]map[placement.ID]placement.Copy
	lost(t, 2, func(w *world) {
		n1, n2 = w.node("n1"), w.node("n2")
		w.submit(app(2))
		w.place(n1)
		w.place(n2)
		w.files.lose("n1")
		before = running(n1, n2)
	}, func(w *world) {
		back(n1, n2)
		w.goOn(before, n1, n2)
	})
}

func TestSlowNodeGivesItsRequestLater(t *testing.T) {
	var n1 *node
	var before map[placement.NodeID]map[placement.ID]placement.Copy
	lost(t, 1, func(w *world) {
		n1 = w.node("n1")
		w.submit(app(1))
		w.place(n1)
		before = running(n1)
		w.files.fail("n1", errors.New("the link is down"))
	}, func(w *world) {
		back(n1)
		time.Sleep(10 * time.Second)
		w.files.fail("n1", nil)
		time.Sleep(2 * time.Second)
		w.goOn(before, n1)
	})
}

func TestFlagsAgree(t *testing.T) {
	for _, c := range []struct {
		name  string
		known string // cluster of the ledger that is there; "": none
		cfg   retryq.Config
		want  string // part of the error; "": none
	}{
		{"new generation of nothing", "", retryq.Config{NewGeneration: true}, "there is no ledger"},
		{"no ID", "", retryq.Config{Rebuild: true, Cluster: "alice"}, "no cluster's ID"},
		{"another cluster", strings.Repeat("a", 32), retryq.Config{Rebuild: true, Cluster: strings.Repeat("b", 32)}, "of cluster aaaa"},
		{"made anew already", strings.Repeat("a", 32), retryq.Config{Rebuild: true, Cluster: strings.Repeat("a", 32)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Store = memstore.New()
			if c.known != "" {
				if _, err := retryq.Open(t.Context(), retryq.Config{Store: c.cfg.Store, Cluster: c.known}); err != nil {
					t.Fatal(err)
				}
			}
			l, err := retryq.Open(t.Context(), c.cfg)
			switch {
			case c.want == "" && (err != nil || l.Holding() != ""):
				t.Errorf("open: %v", err)
			case c.want != "" && (!isKind(err, placement.KindInvalid) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("open: %v, want %q", err, c.want)
			}
		})
	}
}
