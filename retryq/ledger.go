package retryq

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"longshore/internal/dice"
	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/retryq/rule"
)

// Config says what a ledger stands on.
type Config struct {
	Store  Store         // closed by whoever opened it, after the ledger's Run ended
	Logger *slog.Logger  // nil: nothing is logged
	Rand   *rand.Rand    // read once, by Open: all choices follow from the seed drawn; nil: seeded by the system
	Trace  *trace.Tracer // nil: nothing is traced

	// Cluster is the ID that the ledger must have; a new ledger takes it. "":
	// any, and a new one draws its own.
	Cluster string

	Lost         time.Duration // silence after which a placement is lost, and the grace of a start; 0: 30 s
	StartTimeout time.Duration // a bound copy not seen running is given up; 0: 60 s

	KeepLog int // entries that the log keeps at least; 0: 100,000

	Requests Requests // nil: what the ledger does not know is never taken in

	// NewGeneration is the operator's word that the store was restored. What
	// the nodes run then decides; see the hold in the package comment. Without
	// a ledger in the store it is an error.
	NewGeneration bool

	// Rebuild is the operator's word that the ledger of Cluster was lost: an
	// empty store becomes its new one, in a new generation, and holds. A store
	// that has a ledger is opened as ever.
	Rebuild bool
	// Nodes is how many nodes a rebuilt ledger waits for; 0: it is not known, so
	// that it holds for 2 x Lost after the first has registered.
	Nodes int
}

// hostLost is the silence after which a node is lost whose host answers while
// its processes do not.
const hostLost = 300 * time.Second

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Lost == 0 {
		c.Lost = 30 * time.Second
	}
	if c.KeepLog == 0 {
		c.KeepLog = keepLog
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 60 * time.Second
	}
	return c
}

// Ledger is the durable memory of every placement. Make it with [Open]; all
// methods may be called at the same time, and before Run.
type Ledger struct {
	store Store
	cfg   Config
	log   *slog.Logger
	dice  dice.Dice

	ticked time.Time // when Run's tick last began; its own

	mu      sync.Mutex // guards all below, for a few lines; never held across I/O
	mem     memory
	counter uint32             // of epochs and lives of this start
	turns   map[uint64]*change // durable, and waiting for those of lower revisions
	moved   chan struct{}      // closed when memory has moved on

	turn      chan struct{} // one Next at a time waits for what is due
	dueWake   chan struct{} // the queue changed
	orders    chan struct{} // there is a stop order
	rollWake  chan struct{} // there is an app to roll out
	fetchWake chan struct{} // there is a request to fetch
	ending    chan struct{} // one at a time ends a hold
	orderOne  chan struct{} // one NextOrder at a time waits
	restarts  chan struct{} // one change of the start at a time
}

func newLedger(cfg Config) *Ledger {
	return &Ledger{
		store:     cfg.Store,
		cfg:       cfg,
		log:       cfg.Logger,
		dice:      dice.New(cfg.Rand),
		mem:       newMemory(),
		turns:     make(map[uint64]*change),
		moved:     make(chan struct{}),
		turn:      make(chan struct{}, 1),
		dueWake:   make(chan struct{}, 1),
		orders:    make(chan struct{}, 1),
		rollWake:  make(chan struct{}, 1),
		fetchWake: make(chan struct{}, 1),
		ending:    make(chan struct{}, 1),
		orderOne:  make(chan struct{}, 1),
		restarts:  make(chan struct{}, 1),
	}
}

// Cluster is the cluster's ID, made with the ledger.
func (l *Ledger) Cluster() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mem.meta.Cluster
}

// Mark is (generation, start, revision) now; every answer and order carries it.
func (l *Ledger) Mark() placement.Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark()
}

func (l *Ledger) mark() placement.Mark {
	return placement.Mark{Gen: l.mem.meta.Gen, Start: l.mem.meta.Start(), Rev: l.mem.rev}
}

// epoch is one that was never given before, above all others of this start.
// It is drawn after the record was read for which it is meant.
func (l *Ledger) epoch() placement.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochLocked()
}

// epochAbove is the spare epoch if the record may take it, else a new one.
// Of many transactions that run together each is given a spare one before, so
// that they are numbered in their order and not in that of the scheduler.
func (l *Ledger) epochAbove(rec rule.Record, spare placement.Epoch) placement.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if spare > rec.Epoch && spare.Start() == l.mem.meta.Start() {
		return spare
	}
	return l.epochLocked()
}

func (l *Ledger) epochLocked() placement.Epoch {
	l.counter++
	return l.mem.meta.Start().Epoch(l.counter)
}

// find returns a placement's record as memory has it, with what is left of its
// deadline now, and its revision.
func (l *Ledger) find(id placement.ID) (rule.Record, uint64, bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.mem.places[id]
	if e == nil {
		return rule.Record{}, 0, false
	}
	rec := e.rec
	rec.Left = e.left(now)
	return rec, e.rev, true
}

// wake tells those who wait that memory changed. The lock is held.
func (l *Ledger) wake() {
	signal(l.dueWake)
	if len(l.mem.orders) > 0 {
		signal(l.orders)
	}
	if len(l.mem.rolls) > 0 {
		signal(l.rollWake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wrongCluster refuses the word of another cluster's node.
func (l *Ledger) wrongCluster(theirs string) error {
	ours := l.Cluster()
	if theirs == ours {
		return nil
	}
	return &placement.Error{
		Kind: placement.KindRefused,
		What: "this node serves another cluster",
		Why:  "it says cluster " + theirs + ", this is cluster " + ours,
		Next: "a node serves one cluster: move it by the operator's word on the node",
	}
}
