package retryq_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/memstore"
)

// walk is a world in which anything may happen: any node may prepare any epoch
// ever offered, reports and binds come late, nodes are suspected falsely,
// containers vanish, agents and the ledger restart.
type walk struct {
	*world
	rand    *rand.Rand
	nodes   []*node
	offers  []placement.Try
	reports []lateReport
	binds   []lateBind
	wish    int // replicas of the app now; 0: removed
	version int
}

type lateReport struct {
	node   *node
	report placement.Report
}

type lateBind struct {
	node *node
	bind placement.Bind
}

func TestRandomWalks(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &walk{world: begin(t, memstore.New()), rand: rand.New(rand.NewPCG(seed, 1))}
				for i := range 3 {
					w.nodes = append(w.nodes, w.node(fmt.Sprint("n", i)))
				}
				for range 300 {
					w.step()
					w.judge()
				}
				w.settleDown()
			})
		})
	}
}

func (w *walk) any() *node { return w.nodes[w.rand.IntN(len(w.nodes))] }

func (w *walk) step() {
	n := w.any()
	switch w.rand.IntN(17) {
	case 0:
		w.wish, w.version = 1+w.rand.IntN(3), w.version+w.rand.IntN(2)
		w.submit(app(w.wish, ha, image(w.version)))
	case 1:
		if w.wish > 0 && w.rand.IntN(4) == 0 {
			w.wish = 0
			if _, err := w.l.Remove(w.t.Context(), "alice", "shop"); err != nil {
				w.t.Fatal(err)
			}
		}
	case 2, 3, 4:
		if try, ok := w.next(time.Millisecond); ok {
			w.offers = append(w.offers, try)
			w.l.Settle(try, placement.Outcome{Taken: n.name})
			w.prepare(n, try)
		}
	case 5:
		if len(w.offers) > 0 {
			w.prepare(n, w.offers[w.rand.IntN(len(w.offers))])
		}
	case 6, 7, 8:
		w.deliver(n, w.take(n))
	case 9:
		w.reports = append(w.reports, lateReport{n, w.take(n)})
	case 10:
		if i := len(w.reports); i > 0 {
			late := w.reports[i-1-w.rand.IntN(min(i, 3))]
			w.deliver(late.node, late.report)
		}
		if i := len(w.binds); i > 0 {
			late := w.binds[w.rand.IntN(i)]
			if _, err := w.l.Bind(w.t.Context(), late.bind); err != nil { // the answer is lost
				w.t.Fatal(err)
			}
		}
	case 11:
		w.lose(n.name, time.Minute, false)
	case 12:
		for id := range n.copies {
			delete(n.copies, id) // somebody removes it
			n.at.Op++
			break
		}
	case 13:
		n.sweep()
		n.register()
	case 16:
		w.say()
	case 14:
		time.Sleep(time.Duration(w.rand.IntN(20)) * time.Second)
	case 15:
		if w.rand.IntN(4) == 0 {
			w.restart()
			for _, n := range w.nodes {
				n.openLink()
				n.sweep()
				n.register()
			}
		}
	}
}

// say stops, starts, destroys or retries something.
func (w *walk) say() {
	f := placement.Filter{Replica: placement.NewReplica("alice", "shop", "web", 1+w.rand.IntN(3))}
	var err error
	switch w.rand.IntN(5) {
	case 0, 1:
		_, err = w.l.Stop(w.t.Context(), f, "bob")
	case 2:
		_, err = w.l.Start(w.t.Context(), f)
	case 3:
		_, err = w.l.Destroy(w.t.Context(), f, "bob")
	case 4:
		_, err = w.l.Retry(w.t.Context(), f)
	}
	if err != nil && !isKind(err, placement.KindNotFound) {
		w.t.Fatal(err)
	}
}

// prepare creates a copy and asks for it; the bind may be lost and come later.
func (w *walk) prepare(n *node, try placement.Try) {
	if _, there := n.copies[try.ID]; there {
		return
	}
	n.copies[try.ID] = placement.Copy{ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), State: placement.CopyCreated}
	n.at.Op += 2 // created, and the bind
	b := placement.Bind{Cluster: w.l.Cluster(), Node: n.name, ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), At: n.at}
	if w.rand.IntN(6) == 0 {
		w.binds = append(w.binds, lateBind{n, b})
		return
	}
	w.binds = append(w.binds, lateBind{n, b})
	n.answer(b, n.ask(b))
}

// answer does what the ledger says.
func (n *node) answer(b placement.Bind, a placement.BindAnswer) {
	c := n.copies[b.ID]
	switch a.Verdict {
	case placement.VerdictYes:
		c.State = placement.CopyRunning
		n.copies[b.ID] = c
		n.at.Op++
	case placement.VerdictNo, placement.VerdictDone:
		delete(n.copies, b.ID)
		n.at.Op++
	}
}

// sweep removes copies that never started, as an agent does before it registers.
func (n *node) sweep() {
	maps.DeleteFunc(n.copies, func(_ placement.ID, c placement.Copy) bool { return c.State == placement.CopyCreated })
}

// take makes a report without sending it.
func (w *walk) take(n *node) placement.Report {
	n.seq++
	r := n.full()
	r.V, r.Cluster, r.Node, r.Link, r.Seq = 1, w.l.Cluster(), n.name, n.link, n.seq
	return r
}

// deliver hands a report in and carries its orders out: no copy that is bound
// may be ordered to stop, and none that runs may be declared absent.
func (w *walk) deliver(n *node, r placement.Report) {
	if r.Link > n.link {
		return
	}
	before := w.bound()
	_, orders, err := w.l.Report(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("%s reports: %v", n.name, err)
	}
	after := w.bound()
	for id, s := range before {
		if _, still := after[id]; still || s.Node != n.name {
			continue
		}
		if c := n.copies[id]; c.State == placement.CopyRunning && c.Epoch == s.Epoch && w.exists(id) {
			w.t.Errorf("%s runs on %s and was declared absent", id, n.name)
		}
	}
	for _, o := range orders {
		if s, ok := after[o.ID]; ok && s.Node == n.name && s.Epoch == o.Epoch {
			w.t.Errorf("%s is bound to %s at %s and is ordered to stop: %s", o.ID, n.name, o.Epoch, o.Why)
		}
		if c, ok := n.copies[o.ID]; ok && c.Epoch == o.Epoch {
			delete(n.copies, o.ID)
			n.at.Op++
		}
	}
}

// bound are the placements that a node may run now.
func (w *walk) bound() map[placement.ID]placement.Status {
	all, err := w.l.Statuses(w.t.Context(), placement.Filter{All: true})
	if err != nil {
		w.t.Fatal(err)
	}
	m := make(map[placement.ID]placement.Status)
	for _, s := range all {
		if s.State == placement.Bound || s.State == placement.Running {
			m[s.ID] = s
		}
	}
	return m
}

// exists tells whether the placement is still wanted by somebody.
func (w *walk) exists(id placement.ID) bool {
	s, err := w.l.Explain(w.t.Context(), id.Replica())
	return err == nil && s.ID == id && s.State == placement.Pending
}

// judge checks what holds between any two steps.
func (w *walk) judge() {
	w.t.Helper()
	slots := make(map[placement.NodeID]placement.Replica)
	for _, s := range w.bound() {
		if other, taken := slots[s.Node]; taken && other != s.Replica {
			w.t.Errorf("%s and %s of one token are bound to %s", s.Replica, other, s.Node)
		}
		slots[s.Node] = s.Replica
	}
	running := make(map[string]placement.NodeID)
	for _, n := range w.nodes {
		for id, c := range n.copies {
			key := string(id) + "@" + string(c.Epoch)
			if other, twice := running[key]; twice && c.State == placement.CopyRunning {
				w.t.Errorf("%s runs on %s and %s in one epoch", key, other, n.name)
			}
			if c.State == placement.CopyRunning {
				running[key] = n.name
			}
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// settleDown lets everybody work without faults: then just what is wished runs,
// once each.
func (w *walk) settleDown() {
	if _, err := w.l.Retry(w.t.Context(), placement.Filter{}); err != nil && !isKind(err, placement.KindNotFound) {
		w.t.Fatal(err) // what was stopped or destroyed comes back
	}
	for range 60 {
		for _, n := range w.nodes {
			for id, c := range maps.Clone(n.copies) {
				if c.State == placement.CopyCreated {
					n.at.Op++
					b := placement.Bind{Cluster: w.l.Cluster(), Node: n.name, ID: id, Epoch: c.Epoch, Digest: c.Digest, At: n.at}
					n.answer(b, n.ask(b))
				}
			}
			w.deliver(n, w.take(n))
		}
		for {
			try, ok := w.next(100 * time.Millisecond)
			if !ok {
				break
			}
			barred := make(map[placement.NodeID]bool)
			for _, p := range try.Barred {
				barred[p.Node] = true
			}
			o := placement.Outcome{Asked: 3, Passes: try.Barred}
			for _, n := range w.nodes {
				if _, there := n.copies[try.ID]; !there && !barred[n.name] {
					o.Taken = n.name
					w.l.Settle(try, o)
					w.prepareNow(n, try)
					break
				}
			}
			if o.Taken == "" {
				w.l.Settle(try, o)
			}
		}
		w.judge()
		time.Sleep(5 * time.Second)
	}
	copies := make(map[placement.Replica]int)
	for _, n := range w.nodes {
		for id, c := range n.copies {
			if c.State == placement.CopyRunning {
				copies[id.Replica()]++
			}
		}
	}
	list, err := w.l.Statuses(w.t.Context(), placement.Filter{All: true})
	if err != nil || len(list) != w.wish || len(copies) != w.wish {
		w.t.Fatalf("at the end %d are wished, %d known, %d run: %+v, %v", w.wish, len(list), len(copies), list, err)
	}
	for _, s := range list {
		if s.State != placement.Running || copies[s.Replica] != 1 || s.Image != fmt.Sprintf("alice/web@sha256:%d", w.version) {
			w.t.Errorf("at the end %s is %s with %s, %d copies (%s)", s.ID, s.State, s.Image, copies[s.Replica], s.Why)
		}
	}
}

func (w *walk) prepareNow(n *node, try placement.Try) {
	n.at.Op += 2
	b := placement.Bind{Cluster: w.l.Cluster(), Node: n.name, ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), At: n.at}
	n.copies[try.ID] = placement.Copy{ID: try.ID, Epoch: try.Epoch, Digest: b.Digest, State: placement.CopyCreated}
	n.answer(b, n.ask(b))
}
