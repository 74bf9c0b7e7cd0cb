package retryq_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
)

func TestChangeReplacesOneByOne(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(3))
		for range 3 {
			w.place(n1)
		}
		s := w.submit(app(3, image(2)))
		if len(s.Changed) != 3 || len(s.Added)+len(s.Removed) != 0 || s.Revision != 2 {
			t.Errorf("submitted: %+v", s)
		}
		for i, replica := range []placement.Replica{web1, web2, web3} {
			if _, ok := w.next(time.Minute); ok {
				t.Fatal("the new life is due before the old copy is gone")
			}
			if i == 1 {
				w.restart() // a rollout goes on after a restart
				n1.openLink()
				n1.register()
				n1.list()
			}
			all, err := w.l.Statuses(t.Context(), placement.Filter{All: true})
			if err != nil || len(all) != 4 {
				t.Fatalf("%d lives while one is replaced, %v", len(all), err)
			}
			n1.list() // or the report before this one
			if len(n1.stopped) != i+1 || n1.stopped[i].ID.Replica() != replica {
				t.Fatalf("orders: %v", n1.stopped)
			}
			n1.list()
			try := w.place(n1)
			if try.ID.Replica() != replica || try.Request.Image != "alice/web@sha256:2" {
				t.Fatalf("%s with %s follows", try.ID, try.Request.Image)
			}
		}
		if _, ok := w.next(time.Hour); ok {
			t.Error("something is due at the end")
		}
		if orders := n1.list(); len(orders) != 0 {
			t.Errorf("orders: %v", orders)
		}
	})
}

func TestBrokenChangeStopsAtOneAndIsMended(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(2))
		w.place(n1)
		w.place(n1)
		w.submit(app(2, image(2)))
		n1.list()
		n1.list()
		broken := w.mustNext()
		w.l.Settle(broken, placement.Outcome{Asked: 1, Passes: []placement.Pass{{Node: "n1", Reason: placement.Reason{Code: placement.ReasonImage}}}})
		time.Sleep(time.Hour)
		w.expect(web2, placement.Running, "n1")
		w.submit(app(2, image(3)))
		if mended := w.place(n1); mended.ID.Replica() != web1 || mended.Request.Image != "alice/web@sha256:3" {
			t.Fatalf("%s with %s follows", mended.ID, mended.Request.Image)
		}
		time.Sleep(time.Second)
		n1.list()
		n1.list()
		if next := w.place(n1); next.ID.Replica() != web2 || next.Request.Image != "alice/web@sha256:3" {
			t.Fatalf("%s with %s follows", next.ID, next.Request.Image)
		}
	})
}

func TestScaleDownAndServiceRemoved(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		a := app(2)
		db := a.Services[0]
		db.Name, db.Replicas = "db", 1
		a.Services = append(a.Services, db)
		w.submit(a)
		for range 3 {
			w.place(n1)
		}
		s := w.submit(app(1))
		if want := []placement.Replica{"alice/shop/db/1", web2}; !slices.Equal(s.Removed, want) {
			t.Errorf("removed %v, want %v", s.Removed, want)
		}
		if orders := n1.list(); len(orders) != 2 {
			t.Fatalf("orders: %v", orders)
		}
		n1.list()
		all, err := w.l.Statuses(t.Context(), placement.Filter{All: true})
		if err != nil || len(all) != 1 || all[0].Replica != web1 {
			t.Errorf("left: %+v, %v", all, err)
		}
	})
}

func TestRemoveOnDeadMachine(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(2, ha, func(r *placement.Request) { r.LostAfter = 60_000 }))
		w.place(n1)
		w.place(n2)
		// V7: cancelled first, lost then.
		w.submit(app(1, ha, func(r *placement.Request) { r.LostAfter = 60_000 }))
		w.lose("n2", time.Minute, false)
		if all, _ := w.l.Statuses(t.Context(), placement.Filter{All: true}); len(all) != 1 {
			t.Errorf("left: %+v", all)
		}
		// Lost first, cancelled then: the copy that returns meets a tombstone.
		w.lose("n1", 2*time.Minute, false)
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		if all, _ := w.l.Statuses(t.Context(), placement.Filter{All: true}); len(all) != 0 {
			t.Errorf("left: %+v", all)
		}
		w.restart()
		for _, n := range []*node{n1, n2} {
			n.openLink()
			n.register()
			if orders := n.list(); len(orders) != 0 {
				t.Errorf("orders while held: %v", orders)
			}
		}
		for _, n := range []*node{n1, n2} {
			if orders := n.list(); len(orders) != 1 {
				t.Errorf("orders for %s: %v", n.name, orders)
			}
		}
	})
}

func TestTombstonesEnd(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		w.place(n1)
		stale := n1.copies
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		n1.copies = nil
		n1.list()
		n1.copies = stale
		age := func(d time.Duration) {
			t.Helper()
			if err := retryq.AgeTombs(w.l, t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour) // by itself, at a jittered phase
		age(29*24*time.Hour - 2*time.Hour)
		if orders := n1.report(n1.full()); len(orders) != 1 {
			t.Errorf("orders after 29 days: %v", orders)
		}
		age(25 * time.Hour)
		if orders := n1.list(); len(orders) != 0 || len(w.l.Unknown("n1")) != 1 {
			t.Errorf("orders after 30 days: %v", orders)
		}
	})
}

// V6: two submits of one app at once; each replica has one wanted life.
func TestSubmitsAtOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() { w.submit(app(20, image(i))) })
		}
		all.Wait()
		time.Sleep(time.Second)
		list, err := w.l.Statuses(t.Context(), placement.Filter{All: true})
		if err != nil || len(list) != 20 {
			t.Fatalf("%d lives, %v", len(list), err)
		}
		for _, s := range list {
			if !s.Wanted || s.Image != list[0].Image {
				t.Errorf("%s with %s, wanted %v", s.ID, s.Image, s.Wanted)
			}
		}
		for range 20 {
			w.place(n1)
		}
	})
}

func TestBigAppIsRolledOutInParts(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		if s := w.submit(app(1000)); len(s.Added) != 1000 {
			t.Errorf("%d added", len(s.Added))
		}
		w.restart()
		time.Sleep(time.Second)
		count := func() int {
			list, err := w.l.Statuses(t.Context(), placement.Filter{Owner: "alice", All: true})
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if n := count(); n != 1000 {
			t.Errorf("%d of 1000 are there", n)
		}
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := count(); n != 0 {
			t.Errorf("%d are left", n)
		}
		if s := w.submit(app(1)); s.Revision != 3 {
			t.Errorf("revision %d", s.Revision)
		}
	})
}

func TestInvalidApps(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		for name, change := range map[string]func(*placement.App){
			"owner":    func(a *placement.App) { a.Owner = "a/b" },
			"name":     func(a *placement.App) { a.Name = "" },
			"format":   func(a *placement.App) { a.V = 99 },
			"service":  func(a *placement.App) { a.Services[0].Name = "." },
			"twice":    func(a *placement.App) { a.Services = append(a.Services, a.Services[0]) },
			"replicas": func(a *placement.App) { a.Services[0].Replicas = 10_001 },
			"image":    func(a *placement.App) { a.Services[0].Request.Image = "" },
		} {
			a := app(1)
			change(&a)
			if _, err := w.l.Submit(t.Context(), a); !isKind(err, placement.KindInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if rev := w.l.Mark().Rev; rev != 1 {
			t.Errorf("something was stored: revision %d", rev)
		}
	})
}

func TestWatch(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		events := make(chan placement.Event, 100)
		ended := make(chan error, 1)
		go func() {
			ended <- w.l.Watch(t.Context(), placement.Filter{Owner: "alice"}, func(e placement.Event) error {
				events <- e
				if e.State == placement.Cancelled && e.Phase == "gone" {
					return fmt.Errorf("enough")
				}
				return nil
			})
		}()
		want := func(what string, fits func(placement.Event) bool) {
			t.Helper()
			select {
			case e := <-events:
				if !fits(e) {
					t.Fatalf("%s: %+v", what, e)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s: no event", what)
			}
		}
		in := func(s placement.State) func(placement.Event) bool {
			return func(e placement.Event) bool { return e.State == s && e.Replica == web1 }
		}
		want("snapshot", in(placement.Pending))
		want("synced", func(e placement.Event) bool { return e.Synced && e.Replica == "" })
		b := app(1)
		b.Owner = "bob"
		w.submit(b)
		try := w.mustNext()
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		want("taken", in(placement.Pending))
		w.l.Progress(placement.Progress{Cluster: w.l.Cluster(), Node: "n1", ID: try.ID, Epoch: try.Epoch, Phase: "pulling"})
		want("progress", func(e placement.Event) bool { return e.Phase == "pulling" })
		n1.bind(try)
		want("bound", func(e placement.Event) bool {
			return e.State == placement.Bound && e.Node == "n1" && e.Address == "n1.example"
		})
		n1.list()
		want("running", in(placement.Running))
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		want("cancelled", func(e placement.Event) bool { return e.State == placement.Cancelled && !e.Wanted })
		n1.list()
		n1.list()
		want("gone", func(e placement.Event) bool { return e.Phase == "gone" })
		if err := <-ended; err == nil || err.Error() != "enough" {
			t.Errorf("watch: %v", err)
		}
	})
}

func TestSlowWatcherIsCutOff(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		go1, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- w.l.Watch(t.Context(), placement.Filter{}, func(placement.Event) error { <-go1; return nil })
		}()
		synctest.Wait() // it watches
		w.submit(app(1))
		try := w.mustNext()
		for i := range 20_000 {
			w.l.Progress(placement.Progress{Cluster: w.l.Cluster(), Node: "n1", ID: try.ID, Epoch: try.Epoch, Phase: fmt.Sprint(i)})
		}
		close(go1)
		if err := <-ended; !isKind(err, placement.KindUnavailable) {
			t.Errorf("watch: %v", err)
		}
	})
}
