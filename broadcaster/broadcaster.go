package broadcaster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/internal/trace"
)

// Queue is the ledger as the source of work.
type Queue interface {
	// Next blocks until a placement is due. It is in hand until settled.
	Next(ctx context.Context) (placement.Try, error)
	// NextOrder blocks until a copy is to be stopped ahead of its node's next
	// report.
	NextOrder(ctx context.Context) (placement.NodeID, placement.StopOrder, error)
	// Settle ends a try.
	Settle(t placement.Try, o placement.Outcome)
	// Progress takes the word of a node that works on an offer.
	Progress(p placement.Progress)
}

// Apps is the ledger as the record of what owners want. All changes are durable
// when they return.
type Apps interface {
	Submit(ctx context.Context, app placement.App) (placement.Submitted, error)
	Remove(ctx context.Context, owner, app string) ([]placement.Replica, error)
	Retry(ctx context.Context, f placement.Filter) ([]placement.Replica, error)
	Statuses(ctx context.Context, f placement.Filter) ([]placement.Status, error)
	Explain(ctx context.Context, r placement.Replica) (placement.Status, error)
	// Watch calls each with a snapshot, then an event with Synced, then each
	// change, until ctx ends or each fails.
	Watch(ctx context.Context, f placement.Filter, each func(placement.Event) error) error
}

// Records is the ledger as the judge of nodes.
type Records interface {
	Cluster() string
	Mark() placement.Mark
	Register(ctx context.Context, r placement.Register) (placement.Registered, error)
	Bind(ctx context.Context, b placement.Bind) (placement.BindAnswer, error)
	Failed(ctx context.Context, f placement.Failed) error
	ChangeNode(ctx context.Context, c placement.NodeChange) (placement.NodeRecord, error)
}

// Log is the ledger as the record of all that it changed.
type Log interface {
	// History calls each with the lines that the filter chooses, oldest first;
	// following, it goes on until ctx ends or each fails.
	History(ctx context.Context, f placement.LogFilter, each func(placement.Transition) error) error
	// Holding says what the ledger waits for since its start; "" if nothing.
	Holding() string
}

// Backups is the ledger's store as what can be copied while it is in use.
type Backups interface {
	// Backup writes a copy as of one moment, however slow w is.
	Backup(w io.Writer) error
}

// View is what is known of all nodes.
type View interface {
	Nodes(ctx context.Context) ([]placement.NodeStatus, error)
	// Holding says why what silent nodes ran is not started elsewhere; "" if
	// nothing holds it back.
	Holding(ctx context.Context) (string, error)
	// ReleaseGuard lets the silences that are held back now go on.
	ReleaseGuard(ctx context.Context) ([]placement.NodeID, error)
}

// Images finds out what a reference means now.
type Images interface {
	// Resolve turns a tag or digest, as the owner wrote it, into a digest, and
	// names the TCP ports that the image exposes. An owner reaches only their
	// own images of the cluster's registry. A [placement.Error] is the owner's
	// to correct; any other error is worth trying again.
	Resolve(ctx context.Context, owner, ref string) (image string, listen []uint16, err error)
}

// Config says what a broadcaster stands on.
type Config struct {
	Registry string     // http address of the image registry, for clients that push
	Rand     *rand.Rand // read once, by New: all choices follow from the seed drawn
	Logger   *slog.Logger
	Chains   int                  // placements offered at the same time; 0: 256
	Trace    *trace.Tracer        // nil: nothing is traced
	Disk     func() (Disk, error) // of the ledger; nil: it is in memory
	Alarm    func() string        // what an operator should know of this broadcaster; nil, "": nothing
}

// Deps are the parts a broadcaster works with.
type Deps struct {
	Queue   Queue
	Apps    Apps
	Wishes  Wishes
	Records Records
	Log     Log
	Backups Backups // nil: the ledger is in memory only
	View    View
	Images  Images
	Agents  *Agents
}

const (
	defaultChains = 256
	maxStops      = 256                    // stop orders on their way
	spread        = 100 * time.Microsecond // of what falls due together
	viewTime      = 50 * time.Millisecond  // how long a view of the nodes is used
	viewRetry     = 500 * time.Millisecond // after one that could not be had
	stopTime      = 2 * time.Second
	noLocksTime   = 5 * time.Second // offers go without claim after a node missed the lock table
)

// Broadcaster offers what is due and serves clients and agents.
type Broadcaster struct {
	cfg  Config
	deps Deps
	seed uint64

	mu    sync.Mutex
	seen  time.Time // when nodes was read
	nodes []placement.NodeStatus
	stops map[stopKey]bool // stop orders on their way

	noLocks time.Time // when a node last said that the lock table is gone
}

type stopKey struct {
	node  placement.NodeID
	id    placement.ID
	epoch placement.Epoch
}

// New checks that nothing is missing.
func New(cfg Config, deps Deps) (*Broadcaster, error) {
	if cfg.Rand == nil || cfg.Logger == nil || deps.Queue == nil || deps.Apps == nil || deps.Wishes == nil || deps.Records == nil ||
		deps.Log == nil || deps.View == nil || deps.Images == nil || deps.Agents == nil {
		return nil, errors.New("broadcaster: a part is missing")
	}
	if cfg.Chains < 0 {
		return nil, fmt.Errorf("broadcaster: %d chains", cfg.Chains)
	}
	if cfg.Alarm == nil {
		cfg.Alarm = func() string { return "" }
	}
	if cfg.Chains == 0 {
		cfg.Chains = defaultChains
	}
	return &Broadcaster{cfg: cfg, deps: deps, seed: cfg.Rand.Uint64(), stops: map[stopKey]bool{}}, nil
}

// Run offers what falls due and carries stop orders until ctx ends or the
// ledger fails. The methods are served by whoever listens, also without it.
func (b *Broadcaster) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.offerAll(ctx) })
	g.Go(func() error { return b.stopAll(ctx) })
	return g.Wait()
}

// offerAll runs the chains of all that is due, each in a goroutine.
func (b *Broadcaster) offerAll(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, b.cfg.Chains)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		try, err := b.deps.Queue.Next(ctx)
		if err != nil {
			return fmt.Errorf("take what is due: %w", err)
		}
		wg.Go(func() {
			defer func() { <-slots }()
			b.deps.Queue.Settle(try, b.traced(ctx, try))
		})
	}
}

// traced is offerOne as a step of the placement's trace.
func (b *Broadcaster) traced(ctx context.Context, try placement.Try) placement.Outcome {
	if try.Trace == "" {
		return b.offerOne(ctx, try)
	}
	ctx, step := b.cfg.Trace.Under(ctx, try.Trace, "look for a node")
	defer step.End(nil)
	step.About(string(try.ID))
	out := b.offerOne(ctx, try)
	switch {
	case out.Taken != "":
		step.Note("taken by " + string(out.Taken))
	case len(out.Passes) > 0:
		step.Note(fmt.Sprintf("%d nodes asked; %s: %s", out.Asked, out.Passes[0].Node, out.Passes[0].Reason.String()))
	default:
		step.Note(fmt.Sprintf("%d nodes asked", out.Asked))
	}
	return out
}

// offerOne is the chain of one try.
func (b *Broadcaster) offerOne(ctx context.Context, try placement.Try) placement.Outcome {
	rng := b.rng(try)
	// What fell due together is offered each at a moment of its own, and after
	// all that made it due is through, so that a simulated run repeats itself.
	pause(ctx, time.Duration(rng.Int64N(int64(spread))))
	all, err := b.view(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.cfg.Logger.Error("no view of the nodes", "placement", try.ID, "err", err)
		}
		pause(ctx, viewRetry)
		return placement.Outcome{}
	}
	asked := try.Request
	if try.Node != "" {
		asked.Node = try.Node
	}
	nodes, ignored := Eligible(all, asked)
	offer := placement.Offer{
		Mark: try.Mark, Cluster: b.deps.Records.Cluster(), ID: try.ID, Epoch: try.Epoch,
		Request: try.Request, Valid: offerValid, Lockless: try.Lockless || b.locksGone(),
	}
	c := newChain(b.deps.Agents, offer, nodes, rng)
	c.bar(try.Barred)
	out := c.run(ctx)
	if c.noLocks {
		b.mu.Lock()
		b.noLocks = time.Now()
		b.mu.Unlock()
	}
	out.Ignored = ignored
	b.cfg.Logger.Debug("chain of rounds ended", "placement", try.ID, "epoch", try.Epoch, "node", out.Taken, "asked", out.Asked, "passed", len(out.Passes))
	return out
}

// locksGone tells whether a node said a moment ago that it cannot reach the
// lock table. Then offers go to one node at a time, without claim; when that
// moment is over the next chain finds out anew.
func (b *Broadcaster) locksGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.noLocks.IsZero() && time.Since(b.noLocks) < noLocksTime
}

// rng is the randomness of one try: the same seed and the same try choose the
// same nodes, whatever else goes on.
func (b *Broadcaster) rng(t placement.Try) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %d", t.ID, t.Epoch, t.Tries)
	return rand.New(rand.NewPCG(b.seed, h.Sum64()))
}

// view is all nodes as of a moment ago, by what their links show.
func (b *Broadcaster) view(ctx context.Context) ([]placement.NodeStatus, error) {
	b.mu.Lock()
	nodes, fresh := b.nodes, !b.seen.IsZero() && time.Since(b.seen) < viewTime
	b.mu.Unlock()
	if !fresh {
		var err error
		if nodes, err = b.deps.View.Nodes(ctx); err != nil {
			return nil, fmt.Errorf("view nodes: %w", err)
		}
		b.mu.Lock()
		b.nodes, b.seen = nodes, time.Now()
		b.mu.Unlock()
	}
	out := make([]placement.NodeStatus, len(nodes))
	for i, n := range nodes {
		out[i] = b.deps.Agents.overlay(n)
	}
	return out, nil
}

// stopAll carries the ledger's urgent stop orders to the agents, each in a
// goroutine. What does not arrive is ordered again after the node's report.
func (b *Broadcaster) stopAll(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxStops)
	for {
		node, order, err := b.deps.Queue.NextOrder(ctx)
		if err != nil {
			return fmt.Errorf("take a stop order: %w", err)
		}
		key := stopKey{node, order.ID, order.Epoch}
		if !b.begin(key) {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		wg.Go(func() {
			defer func() { b.end(key); <-slots }()
			call, cancel := context.WithTimeout(ctx, stopTime)
			defer cancel()
			if err := b.deps.Agents.Stop(call, node, order); err != nil && ctx.Err() == nil {
				b.cfg.Logger.Warn("stop order not delivered", "node", node, "placement", order.ID, "epoch", order.Epoch, "err", err)
			}
		})
	}
}

// begin says whether no such order is on its way yet, and marks it.
func (b *Broadcaster) begin(k stopKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stops[k] {
		return false
	}
	b.stops[k] = true
	return true
}

func (b *Broadcaster) end(k stopKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.stops, k)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
