package retryq_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/boltstore"
	"longshore/retryq/memstore"
)

// onBoth runs a test in a bubble on each kind of store.
func onBoth(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Run("mem", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(begin(t, memstore.New())) })
	})
	t.Run("bolt", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ledger")
		synctest.Test(t, func(t *testing.T) {
			store, err := boltstore.Open(path, boltstore.Options{Reserve: -1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			test(begin(t, store))
		})
	})
}

// world is a ledger that runs, and the store that it stands on.
type world struct {
	t     *testing.T
	l     *retryq.Ledger
	store retryq.Store
	stop  func()
	seed  uint64

	change func(*retryq.Config) // of the next start, if set
	files  files
}

func begin(t *testing.T, store retryq.Store) *world {
	t.Helper()
	w := &world{t: t, store: store}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start opens the ledger on its store, as after a crash.
func (w *world) start() {
	w.t.Helper()
	w.seed++
	cfg := retryq.Config{Store: w.store, Requests: &w.files, Rand: rand.New(rand.NewPCG(w.seed, 7))}
	if w.change != nil {
		w.change(&cfg)
	}
	l, err := retryq.Open(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	w.l = l
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
		w.stop = func() {}
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// node speaks for both processes of a node.
type node struct {
	w         *world
	name      placement.NodeID
	mark      placement.Mark
	at        placement.SessionOp
	link, seq uint64
	copies    map[placement.ID]placement.Copy
	stopped   []placement.StopOrder // orders carried out
}

func (w *world) node(name string) *node {
	w.t.Helper()
	n := &node{w: w, name: placement.NodeID(name), copies: make(map[placement.ID]placement.Copy)}
	n.register()
	n.openLink()
	return n
}

func (n *node) register() {
	n.w.t.Helper()
	r, err := n.w.l.Register(n.w.t.Context(), placement.Register{V: 1, Cluster: n.w.l.Cluster(), Node: n.name, Session: n.at.Session, Mark: n.mark, Address: string(n.name) + ".example"})
	if err != nil {
		n.w.t.Fatalf("%s registers: %v", n.name, err)
	}
	n.at = placement.SessionOp{Session: r.Session}
	n.mark = r.Mark
}

func (n *node) openLink() {
	n.w.t.Helper()
	link, err := n.w.l.OpenLink(n.w.t.Context(), n.w.l.Cluster(), n.name)
	if err != nil {
		n.w.t.Fatalf("%s opens a link: %v", n.name, err)
	}
	n.link, n.seq = link.Link, 0
}

// bind asks for a created copy, op stepped, and starts it on yes.
func (n *node) bind(t placement.Try) placement.BindAnswer {
	n.w.t.Helper()
	n.at.Op++
	a := n.ask(placement.Bind{ID: t.ID, Epoch: t.Epoch, Digest: t.Request.Digest(), At: n.at})
	if a.Verdict == placement.VerdictYes {
		n.w.files.keep(n.name, t.Request)
		n.copies[t.ID] = placement.Copy{ID: t.ID, Epoch: t.Epoch, Digest: t.Request.Digest(), State: placement.CopyRunning}
	}
	return a
}

func (n *node) ask(b placement.Bind) placement.BindAnswer {
	n.w.t.Helper()
	b.Cluster, b.Node = n.w.l.Cluster(), n.name
	a, err := n.w.l.Bind(n.w.t.Context(), b)
	if err != nil {
		n.w.t.Fatalf("%s binds %s: %v", n.name, b.ID, err)
	}
	if a.At != b.At {
		n.w.t.Errorf("an answer to %v for the bind %v", a.At, b.At)
	}
	if a.Verdict != placement.VerdictStale && a.Mark.Compare(n.mark) > 0 {
		n.mark = a.Mark
	}
	return a
}

// list reports all copies, and carries the stop orders out.
func (n *node) list() []placement.StopOrder {
	n.w.t.Helper()
	orders := n.report(n.full())
	for _, o := range orders {
		if c, ok := n.copies[o.ID]; ok && c.Epoch == o.Epoch {
			delete(n.copies, o.ID)
			n.stopped = append(n.stopped, o)
			n.at.Op++
		}
	}
	return orders
}

// tryList is list, of a ledger that may die at it. Orders are not carried out.
func (n *node) tryList() {
	n.seq++
	r := n.full()
	r.V, r.Cluster, r.Node, r.Link, r.Seq = 1, n.w.l.Cluster(), n.name, n.link, n.seq
	_, _, _ = n.w.l.Report(n.w.t.Context(), r) // whether it answers is not the question
}

func (n *node) full() placement.Report {
	r := placement.Report{Full: true, At: new(n.at)}
	owners := map[string]bool{"alice": true, "bob": true}
	for _, id := range sorted(n.copies) {
		r.Copies = append(r.Copies, n.copies[id])
		owners[id.Owner()] = true
	}
	for _, owner := range sorted(owners) {
		r.Daemons = append(r.Daemons, placement.DaemonListing{Owner: owner, OK: true, Root: "root-" + owner})
	}
	return r
}

func (n *node) report(r placement.Report) []placement.StopOrder {
	n.w.t.Helper()
	n.seq++
	r.V, r.Cluster, r.Node, r.Link, r.Seq = 1, n.w.l.Cluster(), n.name, n.link, n.seq
	a, orders, err := n.w.l.Report(n.w.t.Context(), r)
	if err != nil {
		n.w.t.Fatalf("%s reports: %v", n.name, err)
	}
	if a.Resend {
		n.w.t.Fatalf("%s is asked to send its listing again", n.name)
	}
	if a.Mark.Compare(n.mark) > 0 {
		n.mark = a.Mark
	}
	return orders
}

// next is the placement that is due within a while.
func (w *world) next(within time.Duration) (placement.Try, bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	try, err := w.l.Next(ctx)
	if err != nil && ctx.Err() == nil {
		w.t.Fatalf("next: %v", err)
	}
	return try, err == nil
}

func (w *world) mustNext() placement.Try {
	w.t.Helper()
	try, ok := w.next(time.Minute)
	if !ok {
		w.t.Fatal("nothing is due")
	}
	return try
}

// place lets a node take, bind and run the next placement.
func (w *world) place(n *node) placement.Try {
	w.t.Helper()
	try := w.mustNext()
	w.l.Settle(try, placement.Outcome{Taken: n.name, Asked: 1})
	if a := n.bind(try); a.Verdict != placement.VerdictYes {
		w.t.Fatalf("%s may not bind %s: %+v", n.name, try.ID, a)
	}
	n.list()
	return try
}

func (w *world) submit(app placement.App) placement.Submitted {
	w.t.Helper()
	s, err := w.l.Submit(w.t.Context(), app)
	if err != nil {
		w.t.Fatalf("submit: %v", err)
	}
	return s
}

// status is the wanted life of a replica.
func (w *world) status(r placement.Replica) placement.Status {
	w.t.Helper()
	s, err := w.l.Explain(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("explain %s: %v", r, err)
	}
	return s
}

func (w *world) expect(r placement.Replica, state placement.State, on placement.NodeID) {
	w.t.Helper()
	if s := w.status(r); s.State != state || s.Node != on {
		w.t.Fatalf("%s is %s on %q (%s), want %s on %q", r, s.State, s.Node, s.Why, state, on)
	}
}

// app is alice's app "shop" with one service of n replicas.
func app(n int, change ...func(*placement.Request)) placement.App {
	r := placement.Request{V: 1, Image: "alice/web@sha256:1", Needs: placement.Resources{CPU: 100, Memory: 1 << 20}}
	for _, c := range change {
		c(&r)
	}
	return placement.App{V: 1, Owner: "alice", Name: "shop", Services: []placement.Service{{Name: "web", Replicas: n, Request: r}}}
}

func image(v int) func(*placement.Request) {
	return func(r *placement.Request) { r.Image = fmt.Sprintf("alice/web@sha256:%d", v) }
}

func ha(r *placement.Request) { r.HAToken = "web" }

const web1, web2, web3 = placement.Replica("alice/shop/web/1"), placement.Replica("alice/shop/web/2"), placement.Replica("alice/shop/web/3")
