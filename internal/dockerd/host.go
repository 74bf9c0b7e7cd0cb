package dockerd

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"longshore/internal/placement"
)

// Host is all the daemons of one node. Its methods may be called from many
// goroutines. All but List, Watch and Destroy need Run to be running, and wait
// for it.
type Host struct {
	cfg     Config
	net     Network
	manager Manager
	viewer  *Observer
	repairs repairs
	pulls   pulls

	rndMu sync.Mutex
	rnd   *rand.Rand

	mu      sync.Mutex
	daemons map[string]*daemon // by owner
	running bool
	wake    chan struct{} // a daemon was added
}

// New makes a Host; nothing happens before Run. net may be nil for a Host that
// is only there to Destroy.
func New(cfg Config, net Network) *Host {
	h := &Host{cfg: cfg, net: net, manager: cfg.Manager, rnd: cfg.Rand, daemons: map[string]*daemon{}, wake: make(chan struct{}, 1)}
	if h.manager == nil {
		h.manager = &Detached{}
	}
	if h.rnd == nil {
		seed := fnv.New64a()
		fmt.Fprintf(seed, "%s/%s", cfg.Cluster, cfg.Node)
		h.rnd = rand.New(rand.NewPCG(seed.Sum64(), 0))
	}
	h.viewer = Observe(cfg)
	return h
}

// Run supervises the daemons of every owner known on disk, and of those that
// Ensure adds, until ctx ends. It brings up what is down and repairs what
// breaks. Daemons and containers stay up when it returns. A second Run at the
// same time is an error; one after the other is not.
func (h *Host) Run(ctx context.Context) error {
	if err := h.cfg.Check(); err != nil {
		return err
	}
	owners, err := h.cfg.owners()
	if err != nil {
		return err
	}
	h.mu.Lock()
	if h.running {
		h.mu.Unlock()
		return errors.New("run daemons: already running")
	}
	h.running = true
	h.mu.Unlock()
	for _, owner := range owners {
		h.daemon(owner)
	}
	var all sync.WaitGroup
	for ctx.Err() == nil {
		for _, d := range h.unstarted() {
			all.Go(func() { d.run(ctx) })
		}
		select {
		case <-h.wake:
		case <-ctx.Done():
		}
	}
	all.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = false
	for _, d := range h.daemons {
		d.started = false
	}
	return nil
}

// daemon is the owner's daemon, added if it is new.
func (h *Host) daemon(owner string) *daemon {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.daemons[owner]
	if d == nil {
		d = newDaemon(h, owner)
		h.daemons[owner] = d
	}
	if !d.started {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
	return d
}

func (h *Host) unstarted() []*daemon {
	h.mu.Lock()
	defer h.mu.Unlock()
	var fresh []*daemon
	for _, d := range h.daemons {
		if !d.started {
			d.started = true
			fresh = append(fresh, d)
		}
	}
	return fresh
}

// Ensure returns when the owner's daemon, network and net container are ready,
// or with the error of an attempt that failed meanwhile (attempts go on). It
// costs microseconds when they are ready. Calls at the same time share one
// bring-up; owners do not wait for each other.
func (h *Host) Ensure(ctx context.Context, owner string) error {
	_, err := h.ready(ctx, owner)
	return err
}

// ready is Ensure, and gives the connection.
func (h *Host) ready(ctx context.Context, owner string) (*conn, error) {
	if err := h.cfg.Check(); err != nil {
		return nil, err
	}
	if err := placement.CheckName("owner", owner); err != nil {
		return nil, err
	}
	return h.daemon(owner).wait(ctx)
}

// known tells whether the owner has a daemon on this node, up or not.
func (h *Host) known(owner string) (bool, error) {
	_, err := os.Stat(h.cfg.paths(owner).state)
	if os.IsNotExist(err) {
		return false, nil
	}
	return err == nil, err
}

// Address is the address of the net container that the placement is, or would
// be, joined to: its own if it has one, else the owner's shared one. It is
// answered from memory, and an error if the daemon is not ready.
func (h *Host) Address(owner string, id placement.ID) (netip.Addr, error) {
	h.mu.Lock()
	d := h.daemons[owner]
	h.mu.Unlock()
	if d == nil {
		return netip.Addr{}, fmt.Errorf("address of %s: %w", id, ErrNoDaemon)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		return netip.Addr{}, fmt.Errorf("address of %s: %w", id, ErrNoDaemon)
	}
	if own, ok := d.conn.own[id]; ok {
		return own, nil
	}
	return d.conn.net.NetContainer, nil
}

// List lists the containers of every owner's daemon; see [Observer.List].
func (h *Host) List(ctx context.Context) (Listing, error) { return h.viewer.List(ctx) }

// Watch reports the events of every owner's daemon; see [Observer.Watch]. The
// deaths of containers that this Host itself restarts, to join them to their
// net container again, are left out.
func (h *Host) Watch(ctx context.Context, f func(Event)) error {
	return h.viewer.watch(ctx, f, &h.repairs)
}

func (h *Host) jitter() float64 {
	h.rndMu.Lock()
	defer h.rndMu.Unlock()
	return h.rnd.Float64()
}

// startLimit is how many containers one daemon starts at a time: more only
// queue inside it.
func startLimit() int { return 4 * runtime.NumCPU() }
