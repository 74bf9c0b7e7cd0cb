package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"time"

	"longshore/internal/dice"
	"longshore/internal/placement"
)

// Config says what the node is and how patient its agent is. A zero duration
// or count means its default.
type Config struct {
	Node     placement.NodeID
	Address  string            // of the node, as others reach it: host name or IP
	Labels   map[string]string // arch, os, kernel ...
	Cluster  string            // the one to serve; "": the pinned one, or the first to answer
	StateDir string            // durable, of this agent alone; made if it is not there
	RunDir   string            // tmpfs; made if it is not there. Holds the op file

	Capacity placement.Resources // after the system's reserve
	Defaults placement.Resources // for requests without CPU or memory; 0: 100 thousandths of a core, 64 MiB

	MaxBusy     int           // placements in work at once; 512
	MaxStarts   int           // containers of one owner created or started at once; 4 for each core
	StopGrace   time.Duration // between SIGTERM and SIGKILL of a copy ordered away; 10 s
	RPC         time.Duration // one call to the broadcaster; 2 s
	ClaimWait   time.Duration // one call to the claims; 150 ms, so that an offer is answered in time
	Docker      time.Duration // one call to a daemon, pulls apart; 30 s
	Renew       time.Duration // between renewals of a claim, and words of progress; 5 s
	Stall       time.Duration // without progress a placement is given up; 10 min
	Silence     time.Duration // without an answer to its binds a copy that never started is given up; 60 s
	ListEvery   time.Duration // full listings even without events; 30 s
	FullestWait time.Duration // before the claim on a full node; 5 ms
}

// withDefaults fills in what is zero and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if err := placement.CheckName("node", string(c.Node)); err != nil {
		return c, err
	}
	if c.StateDir == "" || c.RunDir == "" {
		return c, &placement.Error{Kind: placement.KindInvalid, What: "the agent has no state or run directory", Next: "give it both"}
	}
	c.Defaults.CPU = cmp.Or(c.Defaults.CPU, 100)
	c.Defaults.Memory = cmp.Or(c.Defaults.Memory, 64<<20)
	c.MaxBusy = cmp.Or(c.MaxBusy, 512)
	c.MaxStarts = cmp.Or(c.MaxStarts, 4*runtime.NumCPU())
	c.StopGrace = cmp.Or(c.StopGrace, 10*time.Second)
	c.RPC = cmp.Or(c.RPC, 2*time.Second)
	c.ClaimWait = cmp.Or(c.ClaimWait, 150*time.Millisecond)
	c.Docker = cmp.Or(c.Docker, 30*time.Second)
	c.Renew = cmp.Or(c.Renew, 5*time.Second)
	c.Stall = cmp.Or(c.Stall, 10*time.Minute)
	c.Silence = cmp.Or(c.Silence, time.Minute)
	c.ListEvery = cmp.Or(c.ListEvery, 30*time.Second)
	c.FullestWait = cmp.Or(c.FullestWait, 5*time.Millisecond)
	return c, nil
}

// Deps are what the agent works with.
type Deps struct {
	Runtime     Runtime
	Eyes        Eyes
	Ports       Ports
	Claims      Claims
	Broadcaster Broadcaster
	Logger      *slog.Logger
	Rand        *rand.Rand // read once, by New: all choices follow from the seed drawn
}

// Agent is one node's agent. All methods may be called from any goroutine.
type Agent struct {
	cfg Config
	Deps
	dice     dice.Dice
	lock     *os.File
	pin      *pin
	ops      *ops
	requests *requests
	late     *late
	passed   passed
	starts   *slots
	portPen  pen // keeps changes of published ports apart

	work    chan func(context.Context) // to Run, which owns every goroutine
	closing chan struct{}              // closed when Run takes no more work
	wake    chan struct{}              // the registrar has something to do
	dirty   chan struct{}              // the book may be out of date
	lists   chan chan struct{}         // asks for a listing that begins now; closed when it is applied

	mu      sync.Mutex
	reg     registration
	closed  bool
	book    *book
	tasks   map[placement.ID]*task
	stops   map[stopKey]chan struct{} // each closed when the order is carried out
	placing int                       // tasks that place
	claimOK bool                      // the claims could be reached last time
	tidied  bool                      // ports were set right after the start
}

// New opens the state directory, which no other agent may have open, and reads
// what an earlier run left. The agent does nothing before Run.
func New(cfg Config, deps Deps) (*Agent, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, Deps: deps, lock: lock,
		dice:    dice.New(deps.Rand),
		starts:  newSlots(cfg.MaxStarts),
		portPen: newPen(),
		work:    make(chan func(context.Context)),
		closing: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		dirty:   make(chan struct{}, 1),
		lists:   make(chan chan struct{}),
		reg:     registration{done: make(chan struct{})},
		book:    newBook(),
		tasks:   map[placement.ID]*task{},
		stops:   map[stopKey]chan struct{}{},
		claimOK: true,
	}
	a.Logger = deps.Logger.With("node", string(cfg.Node))
	if err := a.open(); err != nil {
		lock.Close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) open() (err error) {
	if a.pin, err = openPin(a.cfg.StateDir, a.cfg.Node, a.cfg.Cluster); err != nil {
		return err
	}
	if a.requests, err = openRequests(a.cfg.StateDir); err != nil {
		return err
	}
	if a.late, err = openLate(a.cfg.StateDir); err != nil {
		return err
	}
	if err := os.MkdirAll(a.cfg.RunDir, 0o755); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	cluster, _ := a.pin.get()
	a.ops = openOps(a.cfg.RunDir, a.cfg.Node, cluster)
	return nil
}

// Run registers the node and works until ctx ends. Then it refuses offers,
// undoes the placements that are not yet told to start, and returns when the
// last goroutine has ended; containers stay up. It may be called once.
func (a *Agent) Run(ctx context.Context) error {
	defer a.lock.Close()
	var all sync.WaitGroup
	failed := make(chan error, 1)
	live, stop := context.WithCancel(ctx)
	defer stop()
	all.Go(func() { a.keepRegistered(live) })
	all.Go(func() { a.keepListed(live) })
	all.Go(func() { a.keepMark(live) })
	all.Go(func() {
		if err := a.Eyes.Watch(live, a.saw); live.Err() == nil {
			failed <- fmt.Errorf("the watch over the daemons ended: %w", err)
		}
	})
	a.wakeRegistrar()
	a.markDirty()
	err := a.employ(live, &all, failed)
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	close(a.closing)
	stop()
	all.Wait()
	return errors.Join(err, a.pin.flush(context.WithoutCancel(ctx)))
}

// employ gives each piece of work a goroutine, until ctx ends.
func (a *Agent) employ(ctx context.Context, all *sync.WaitGroup, failed <-chan error) error {
	for {
		select {
		case f := <-a.work:
			all.Go(func() { f(ctx) })
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// spawn hands work to Run; false if it takes no more.
func (a *Agent) spawn(f func(context.Context)) bool {
	select {
	case a.work <- f:
		return true
	case <-a.closing:
		return false
	}
}

// keepMark stores the highest mark once a second. What is acted upon is stored
// before; this is for marks that only passed by.
func (a *Agent) keepMark(ctx context.Context) {
	for wait(ctx, time.Second) {
		if err := a.pin.flush(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Error("cannot store the ledger's mark", "err", err)
		}
	}
}

// Room is how full the node is. Used is hostinfo's to measure.
func (a *Agent) Room() placement.Room {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state()
	return placement.Room{Capacity: s.Capacity, Promised: s.Promised(), Copies: len(s.Holds)}
}

// state is what Admit looks at; a.mu is held, and Holds is the book's own.
func (a *Agent) state() State {
	return State{
		Node:       a.cfg.Node,
		Registered: a.reg.session != 0,
		Draining:   a.closed,
		Busy:       a.placing,
		MaxBusy:    a.cfg.MaxBusy,
		Capacity:   a.cfg.Capacity,
		Defaults:   a.cfg.Defaults,
		Strangers:  a.book.strangers,
		Holds:      a.book.holds,
	}
}

// signal wakes whoever waits on a channel of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (a *Agent) wakeRegistrar() { signal(a.wake) }

func (a *Agent) markDirty() { signal(a.dirty) }
