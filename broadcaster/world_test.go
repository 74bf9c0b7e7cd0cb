package broadcaster_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"longshore/broadcaster"
	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

// ledger is a retryq that only remembers what it was told.
type ledger struct {
	due    chan placement.Try
	orders chan order

	mu       sync.Mutex
	settled  map[placement.ID]settled
	change   chan struct{} // closed at each settle
	progress []placement.Progress
	apps     []placement.App
	parent   string // trace of the last submit
	sessions uint64
	records  map[placement.NodeID]placement.NodeRecord
	began    time.Time
	stands   []placement.Status // what Statuses tells, if not nil
}

type order struct {
	node placement.NodeID
	stop placement.StopOrder
}

type settled struct {
	placement.Outcome
	after time.Duration // since the ledger began
}

func newLedger() *ledger {
	return &ledger{
		due: make(chan placement.Try, 1000), orders: make(chan order, 1000), change: make(chan struct{}),
		settled: map[placement.ID]settled{}, records: map[placement.NodeID]placement.NodeRecord{}, began: time.Now(),
	}
}

func (l *ledger) Next(ctx context.Context) (placement.Try, error) {
	select {
	case t := <-l.due:
		return t, nil
	case <-ctx.Done():
		return placement.Try{}, ctx.Err()
	}
}

func (l *ledger) NextOrder(ctx context.Context) (placement.NodeID, placement.StopOrder, error) {
	select {
	case o := <-l.orders:
		return o.node, o.stop, nil
	case <-ctx.Done():
		return "", placement.StopOrder{}, ctx.Err()
	}
}

func (l *ledger) Settle(t placement.Try, o placement.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled[t.ID] = settled{o, time.Since(l.began)}
	close(l.change)
	l.change = make(chan struct{})
}

func (l *ledger) Progress(p placement.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress = append(l.progress, p)
}

func (l *ledger) Cluster() string      { return "c1" }
func (l *ledger) Mark() placement.Mark { return placement.Mark{Gen: 1, Start: 2, Rev: 3} }

func (l *ledger) Register(_ context.Context, r placement.Register) (placement.Registered, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions++
	l.records[r.Node] = placement.NodeRecord{Node: r.Node, Address: r.Address, Reported: r.Labels}
	return placement.Registered{Cluster: "c1", Session: l.sessions}, nil
}

func (l *ledger) Bind(_ context.Context, b placement.Bind) (placement.BindAnswer, error) {
	return placement.BindAnswer{At: b.At, Verdict: placement.VerdictYes}, nil
}

func (l *ledger) Holding() string { return "" }

func (l *ledger) History(_ context.Context, f placement.LogFilter, each func(placement.Transition) error) error {
	t := placement.Transition{Rev: 7, ID: "alice/shop/web/1.0000000000000001", By: "operator/bob", To: placement.Pending}
	if !f.Chooses(t) {
		return nil
	}
	return each(t)
}

func (l *ledger) Failed(context.Context, placement.Failed) error { return nil }

func (l *ledger) ChangeNode(_ context.Context, c placement.NodeChange) (placement.NodeRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.records[c.Node]
	if !ok {
		return r, &placement.Error{Kind: placement.KindNotFound, What: "no node " + string(c.Node)}
	}
	r.Labels = c.Labels
	if c.Drain != nil {
		r.Draining = *c.Drain
	}
	if c.GiveUp != nil {
		r.GivenUp = *c.GiveUp
	}
	l.records[c.Node] = r
	return r, nil
}

func (l *ledger) Submit(ctx context.Context, app placement.App) (placement.Submitted, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parent = trace.Parent(ctx)
	l.apps = append(l.apps, app)
	return placement.Submitted{Owner: app.Owner, App: app.Name, Revision: uint64(len(l.apps))}, nil
}

func (l *ledger) Remove(_ context.Context, owner, app string) ([]placement.Replica, error) {
	return []placement.Replica{placement.NewReplica(owner, app, "web", 1)}, nil
}

func (l *ledger) Retry(_ context.Context, f placement.Filter) ([]placement.Replica, error) {
	return []placement.Replica{f.Replica}, nil
}

func (l *ledger) Statuses(_ context.Context, f placement.Filter) ([]placement.Status, error) {
	if l.stands != nil {
		return l.stands, nil
	}
	return []placement.Status{{Replica: placement.NewReplica(cmp.Or(f.Owner, "all"), "shop", "web", 1)}}, nil
}

func (l *ledger) Explain(_ context.Context, r placement.Replica) (placement.Status, error) {
	return placement.Status{Replica: r, ID: r.Placement("00000000000000000001"), Trace: trace.ID(l.parent), Refusals: []placement.Refusal{{Reason: placement.Reason{Code: "cpu"}, Nodes: 2}}}, nil
}

func (l *ledger) Watch(ctx context.Context, _ placement.Filter, each func(placement.Event) error) error {
	for rev := range uint64(3) {
		if err := each(placement.Event{Rev: rev, Synced: rev == 2}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// view is a hostinfo whose nodes the test writes.
type view []placement.NodeStatus

func (view) Holding(context.Context) (string, error) { return "3 of 5 nodes fell silent together", nil }

func (view) ReleaseGuard(context.Context) ([]placement.NodeID, error) {
	return []placement.NodeID{"n01"}, nil
}

func (v view) Nodes(context.Context) ([]placement.NodeStatus, error) { return slices.Clone(v), nil }

// images resolves by a function.
type images func(ctx context.Context, owner, ref string) (string, []uint16, error)

func (f images) Resolve(ctx context.Context, owner, ref string) (string, []uint16, error) {
	return f(ctx, owner, ref)
}

func plainImages(_ context.Context, owner, ref string) (string, []uint16, error) {
	return owner + "/" + ref + "@sha256:1", []uint16{8080}, nil
}

// agent answers offers of one node.
type agent func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error)

func takes(context.Context, placement.Offer) (placement.OfferAnswer, error) {
	return placement.OfferAnswer{Taken: true}, nil
}

func passes(code string) agent {
	return func(context.Context, placement.Offer) (placement.OfferAnswer, error) {
		return placement.OfferAnswer{Reason: placement.Reason{Code: code, Need: "2", Have: "1"}}, nil
	}
}

func after(d time.Duration, a agent) agent {
	return func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
		select {
		case <-time.After(d):
			return a(ctx, o)
		case <-ctx.Done():
			return placement.OfferAnswer{}, ctx.Err()
		}
	}
}

// world is a broadcaster with everything around it in memory.
type world struct {
	t         *testing.T
	ledger    *ledger
	wishes    *wishes
	transport *rpc.MemoryTransport
	tracer    *trace.Tracer
	b         *broadcaster.Broadcaster
}

func start(t *testing.T, nodes view, resolve images) *world {
	t.Helper()
	w := &world{t: t, ledger: newLedger(), wishes: &wishes{}, transport: rpc.Memory()}
	logger := slog.New(slog.DiscardHandler)
	var err error
	if w.tracer, err = trace.New(t.Context(), "broadcaster"); err != nil {
		t.Fatal(err)
	}
	w.b, err = broadcaster.New(broadcaster.Config{Registry: "http://r", Rand: rng(1), Logger: logger, Trace: w.tracer}, broadcaster.Deps{
		Queue: w.ledger, Apps: w.ledger, Wishes: w.wishes, Records: w.ledger, Log: w.ledger, Backups: w.ledger, View: nodes, Images: resolve, Agents: broadcaster.NewAgents(logger),
	})
	if err != nil {
		t.Fatal(err)
	}
	methods := w.b.ClientMethods()
	maps.Copy(methods, w.b.NodeMethods())
	ctx, cancel := context.WithCancel(t.Context())
	lis, err := w.transport.Listen(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = rpc.Serve(ctx, lis, rpc.Config{
			Identity: "broadcaster", Methods: methods,
			Serve:  []func(rpc.Handler) rpc.Handler{w.tracer.Serve("submit")},
			Invoke: []func(rpc.Invoker) rpc.Invoker{trace.Invoke, broadcaster.TellCaller},
		})
	})
	wg.Go(func() {
		if err := w.b.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

// dial opens a link that serves the methods; it ends with the test.
func (w *world) dial(name string, methods rpc.Methods) *rpc.Link {
	w.t.Helper()
	l, err := rpc.Dial(w.t.Context(), w.transport, "b", rpc.Config{Identity: name, Methods: methods})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close(); l.Wait() })
	return l
}

// node is an agent that is registered.
func (w *world) node(name string, a agent) *rpc.Link {
	w.t.Helper()
	return w.nodeServing(name, a, nil)
}

// nodeServing is one with more methods.
func (w *world) nodeServing(name string, a agent, more rpc.Methods) *rpc.Link {
	w.t.Helper()
	methods := rpc.Methods{"offer": rpc.Unary("", "offer", func(ctx context.Context, _ *rpc.Call, o placement.Offer) (placement.OfferAnswer, error) {
		return a(ctx, o)
	})}
	maps.Copy(methods, more)
	l := w.dial(name, methods)
	if err := w.register(l, name); err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) register(l *rpc.Link, name string) error {
	return l.Call(w.t.Context(), "register", nil, placement.Register{V: placement.Format, Node: placement.NodeID(name), Address: "10.0.0.1"})
}

// offer makes a placement due and waits until it is settled. The time of the
// outcome counts from the call.
func (w *world) offer(try placement.Try) settled {
	w.t.Helper()
	if try.ID == "" {
		try.ID = "alice/shop/web/1.00000000000000000001"
	}
	begin := time.Since(w.ledger.began)
	w.ledger.due <- try
	s := w.settled(try.ID)
	s.after -= begin
	return s
}

func (w *world) settled(id placement.ID) settled {
	w.t.Helper()
	timeout := time.After(time.Minute)
	for {
		w.ledger.mu.Lock()
		s, ok := w.ledger.settled[id]
		change := w.ledger.change
		w.ledger.mu.Unlock()
		if ok {
			return s
		}
		select {
		case <-change:
		case <-timeout:
			w.t.Fatalf("%s was not settled", id)
		}
	}
}

// wishes remembers what was wished, by verb.
type wishes struct {
	mu   sync.Mutex
	done []string
}

func (w *wishes) say(parts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, strings.Join(parts, " "))
}

// last is the newest wish.
func (w *wishes) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.done) == 0 {
		return ""
	}
	return w.done[len(w.done)-1]
}

func (w *wishes) Stop(_ context.Context, f placement.Filter, by string) ([]placement.Replica, error) {
	w.say("stop", string(f.Replica), "by", by)
	return []placement.Replica{f.Replica}, nil
}

func (w *wishes) Start(_ context.Context, f placement.Filter) ([]placement.Replica, error) {
	w.say("start", string(f.Replica))
	return []placement.Replica{f.Replica}, nil
}

func (w *wishes) Destroy(_ context.Context, f placement.Filter, by string) ([]placement.Replica, error) {
	w.say("destroy", string(f.Replica), "by", by)
	return []placement.Replica{f.Replica}, nil
}

func (w *wishes) Wish(_ context.Context, q placement.Wish) (placement.Wished, error) {
	w.say(string(q.Node), "wishes", q.Verb, string(q.ID), "for", q.By)
	return placement.Wished{ID: q.ID, State: placement.Done}, nil
}

func (w *wishes) SubmitService(_ context.Context, owner, app string, s placement.Service, node placement.NodeID) (placement.Submitted, error) {
	w.say("submit", owner, app, s.Name, s.Request.Image, "on", string(s.Request.Node), "for", string(node))
	return placement.Submitted{Owner: owner, App: app}, nil
}

func (w *wishes) Waiting(_ context.Context, f placement.Filter) ([]placement.Status, error) {
	return []placement.Status{{Replica: placement.NewReplica(f.Owner, "shop", "web", 1), State: placement.Pending}}, nil
}
