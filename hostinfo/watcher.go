package hostinfo

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/dice"
	"longshore/internal/opfile"
	"longshore/internal/placement"
)

// WatcherConfig says whom a watcher speaks for, and how often. Zero durations
// mean the defaults.
type WatcherConfig struct {
	Cluster  string // the cluster's ID; "": the one of whoever answers
	Node     placement.NodeID
	OpDir    string              // where the agent keeps its op file
	Capacity placement.Resources // see [Capacity]

	Report  time.Duration // between complete listings, give or take 10 %; 5 s
	Beat    time.Duration // between beats; 1 s
	Timeout time.Duration // of a call to the broadcaster; 2 s
	Listing time.Duration // at most, for listing all daemons; 5 s
	Measure time.Duration // between measurements of disk; 1 min

	Alarm func() string // what beats say an operator should know; nil, "": nothing

	Logger *slog.Logger
	Rand   *rand.Rand // read once, by NewWatcher: all choices follow from the seed drawn
}

func (c *WatcherConfig) check() error {
	if err := placement.CheckName("node", string(c.Node)); err != nil {
		return err
	}
	if c.Alarm == nil {
		c.Alarm = func() string { return "" }
	}
	if c.Logger == nil || c.Rand == nil || c.OpDir == "" {
		return errors.New("hostinfo: a watcher needs a logger, a source of randomness and the directory of the op file")
	}
	c.Report = cmp.Or(c.Report, 5*time.Second)
	c.Beat = cmp.Or(c.Beat, time.Second)
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	c.Listing = cmp.Or(c.Listing, 5*time.Second)
	c.Measure = cmp.Or(c.Measure, time.Minute)
	return nil
}

// Host tells the figures of the machine; [Machine] does.
type Host interface {
	Figures(ctx context.Context) (Figures, error)
}

// Watcher is hostinfod: it watches the daemons of one node and tells each
// broadcaster that it is attached to.
type Watcher struct {
	cfg     WatcherConfig
	runtime Runtime
	host    Host
	dice    dice.Dice

	now  chan struct{} // list at once
	soon chan struct{} // list in a moment

	mu       sync.Mutex
	sessions []*session
	at       *placement.SessionOp // read before the last listing begun
	begun    uint64               // listings begun
	promised map[string]promise
	used     placement.Resources
	figures  Figures
	room     placement.Room // as of the last listing
	listed   time.Time
	reports  uint64 // acknowledged
}

// NewWatcher checks the configuration; nothing runs before [Watcher.Run].
func NewWatcher(cfg WatcherConfig, runtime Runtime, host Host) (*Watcher, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Watcher{
		cfg: cfg, runtime: runtime, host: host, dice: dice.New(cfg.Rand),
		now: make(chan struct{}, 1), soon: make(chan struct{}, 1),
	}, nil
}

// Run watches until ctx ends, then returns nil. Links attached meanwhile
// ([Watcher.Attend]) report what it sees; without it they only beat.
func (w *Watcher) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return w.follow(running) })
	g.Go(func() error { return w.relist(running) })
	g.Go(func() error { return w.every(running, "figures", w.cfg.Report, w.figure) })
	g.Go(func() error { return w.every(running, "measure", w.cfg.Measure, w.runtime.Measure) })
	return unless(ctx, g.Wait())
}

// follow keeps the event stream open, and has everything listed whenever it
// broke.
func (w *Watcher) follow(ctx context.Context) error {
	for failures := 0; ; failures++ {
		opened := time.Now()
		err := w.runtime.Watch(ctx, w.event)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.cfg.Logger.Warn("event stream broke", "node", w.cfg.Node, "err", err)
		poke(w.now)
		if time.Since(opened) > 10*time.Second {
			failures = 0
		}
		if err := pause(ctx, backoff(failures, w.dice.Unit("follow"))); err != nil {
			return err
		}
	}
}

// event hands one event to all sessions.
func (w *Watcher) event(e Event) {
	if e.Resync || e.Copy.ID == "" {
		poke(w.now)
		return
	}
	w.mu.Lock()
	ev := event{copied: e.Copy, at: w.at, after: w.begun}
	full := false
	for _, s := range w.sessions {
		full = s.add(ev) || full
	}
	w.mu.Unlock()
	if full {
		poke(w.now)
	}
	// Only a listing proves that a copy is gone, and what waits for its room
	// should not wait for the period.
	if e.Copy.State == placement.CopyGone {
		poke(w.soon)
	}
}

// relist makes the complete listings: each period, and when asked for, but
// never more than a tenth of the time.
func (w *Watcher) relist(ctx context.Context) error {
	const settle = 100 * time.Millisecond // for the agent to write its op
	next := time.Now().Add(w.dice.UpTo(w.cfg.Report, "list"))
	earliest := time.Now()
	var settled time.Time // a listing not before then was asked for
	failing := false
	for {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-w.now:
			timer.Stop()
			next = first(next, last(time.Now(), earliest))
			continue
		case <-w.soon:
			timer.Stop()
			settled = time.Now().Add(settle)
			next = first(next, last(settled, earliest))
			continue
		case <-timer.C:
		}
		began := time.Now()
		if taken(w.soon) {
			settled = began.Add(settle)
		}
		taken(w.now) // this listing is what it asks for
		next = began.Add(jitter(w.cfg.Report, w.dice.Unit("list")))
		err := w.list(ctx)
		if err != nil && ctx.Err() == nil {
			next = began.Add(jitter(min(time.Second, w.cfg.Report), w.dice.Unit("list")))
			if !failing {
				w.cfg.Logger.Warn("listing failed", "node", w.cfg.Node, "err", err)
			}
		}
		failing = err != nil
		took := time.Since(began)
		earliest = time.Now().Add(min(max(10*took, 100*time.Millisecond), w.cfg.Report))
		if settled.After(began) {
			next = first(next, last(settled, earliest))
		}
	}
}

// taken takes the token of a channel of one, if it is there.
func taken(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// list reads the op file, then lists, then hands the listing to the sessions
// that were attached before it began.
func (w *Watcher) list(ctx context.Context) error {
	w.mu.Lock()
	alone := len(w.sessions) == 0
	w.mu.Unlock()
	if alone {
		return nil
	}
	at := w.readOp()
	w.mu.Lock()
	w.begun++
	w.at = at
	number := w.begun
	w.mu.Unlock()

	l, err := w.look(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.promised = promises(w.promised, l)
	w.room = roomOf(w.cfg.Capacity, w.promised, w.used, w.figures)
	w.listed = time.Now()
	full := &listing{Listing: l, at: at, room: w.room, number: number, digest: l.digest()}
	for _, s := range w.sessions {
		s.show(full)
	}
	return nil
}

// look lists all daemons now.
func (w *Watcher) look(ctx context.Context) (Listing, error) {
	before, err := asleep()
	if err != nil {
		return Listing{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Listing)
	defer cancel()
	l, err := w.runtime.List(ctx)
	if err != nil {
		return Listing{}, err
	}
	after, err := asleep()
	if err != nil {
		return Listing{}, err
	}
	if slept(before, after) {
		return Listing{}, errors.New("the machine was suspended while it was listed")
	}
	return l.sorted(), nil
}

// readOp is what the agent's file says, or nil: then nothing that is absent
// proves anything.
func (w *Watcher) readOp() *placement.SessionOp {
	op, err := opfile.Read(w.cfg.OpDir)
	if err != nil || op.Node != w.cfg.Node || w.cfg.Cluster != "" && op.Cluster != w.cfg.Cluster {
		return nil
	}
	at := op.At()
	return &at
}

// every keeps figures fresh, beside the listings, so that slow figures never
// delay those.
func (w *Watcher) every(ctx context.Context, what string, period time.Duration, measure func(context.Context) error) error {
	failing := false
	for {
		err := measure(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !failing {
			w.cfg.Logger.Warn("measuring failed", "node", w.cfg.Node, "err", err)
		}
		failing = err != nil
		if err := pause(ctx, jitter(period, w.dice.Unit(what))); err != nil {
			return err
		}
	}
}

// figure reads what is read quickly.
func (w *Watcher) figure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Listing)
	defer cancel()
	figures, err := w.host.Figures(ctx)
	if err != nil {
		return err
	}
	used, err := w.runtime.Used(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.figures = figures
	if err == nil {
		w.used = used
	}
	return err
}
