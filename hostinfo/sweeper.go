package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
)

// Losses is where a silence ends: the ledger.
type Losses interface {
	// Lose puts back at most Max of the placements that such a silence ends,
	// each by its own lost_after, and tells how many, and whether there are
	// more. Called again it puts back the next ones, or none.
	Lose(ctx context.Context, s placement.Silence) (lost int, more bool, err error)
}

// SweeperConfig is what a sweeper needs beside its collector, whose times it
// keeps.
type SweeperConfig struct {
	Round  time.Duration // between rounds; 1 s
	Logger *slog.Logger
	Rand   *rand.Rand // the sweeper's alone
}

// Sweeper decides who is silent, and has the ledger put back what ran there.
type Sweeper struct {
	cfg    SweeperConfig
	c      *Collector
	losses Losses
	prober Prober

	// Run's own.
	heldSaid time.Time // zero: the mass guard does not hold
	trouble  string
	round    time.Time
	nap      time.Duration // how long the machine had slept by then
}

// NewSweeper sweeps what c hears.
func NewSweeper(cfg SweeperConfig, c *Collector, losses Losses, prober Prober) (*Sweeper, error) {
	if cfg.Logger == nil || cfg.Rand == nil {
		return nil, errors.New("hostinfo: a sweeper needs a logger and a source of randomness")
	}
	if cfg.Round == 0 {
		cfg.Round = time.Second
	}
	return &Sweeper{cfg: cfg, c: c, losses: losses, prober: prober}, nil
}

// Run sweeps until ctx ends, then returns nil. All silences begin with it.
func (s *Sweeper) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(32)
	g.Go(func() error { return s.sweep(running, g) })
	return unless(ctx, g.Wait())
}

func (s *Sweeper) sweep(ctx context.Context, probes *errgroup.Group) error {
	if err := pause(ctx, time.Duration(s.cfg.Rand.Float64()*float64(s.cfg.Round))); err != nil {
		return err
	}
	var err error
	if s.nap, err = asleep(); err != nil {
		return err
	}
	s.round = time.Now()
	s.c.begin(s.round)
	tick := time.NewTicker(s.cfg.Round)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		err := s.once(ctx, probes)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.cfg.Logger.Warn("sweep failed", "err", err)
			s.c.doubt(time.Now(), err.Error())
		}
	}
}

// once is one round: doubt ourselves, decide, ask, tell.
func (s *Sweeper) once(ctx context.Context, probes *errgroup.Group) error {
	records, err := s.c.ledger.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	now := time.Now()
	nap, err := asleep()
	if err != nil {
		return err
	}
	self := Self{Gap: now.Sub(s.round), Slept: slept(s.nap, nap)}
	s.round, s.nap = now, nap
	self.Nodes, self.Unheard, self.Ledger = s.c.self(records, now)
	trouble := s.c.cfg.Times.Doubt(self)
	s.c.doubt(now, trouble)
	switch {
	case trouble != "" && s.trouble == "":
		s.cfg.Logger.Warn("suspecting ourselves: all silences begin again", "why", trouble)
	case trouble == "" && s.trouble != "":
		s.cfg.Logger.Info("suspecting ourselves no longer")
	}
	s.trouble = trouble

	snapshot := s.c.snapshot(records)
	verdicts := Decide(snapshot, s.c.cfg.Times)
	held, why := 0, s.c.cfg.Times.guard(snapshot).why
	for i, v := range verdicts {
		if v.Held {
			held++
		}
		if v.Probe {
			s.probe(ctx, probes, v.Node, snapshot.Nodes[i].Address, now)
		}
		s.c.settle(snapshot.Nodes[i])
	}
	s.sayHeld(held, why, now)
	return s.tell(ctx, inOrder(verdicts), now)
}

// sayHeldEach is how often the log repeats that the mass guard holds.
const sayHeldEach = 5 * time.Minute

// sayHeld says in the log that the mass guard holds, again each so long, and
// that it does no longer.
func (s *Sweeper) sayHeld(held int, why string, now time.Time) {
	switch {
	case held > 0 && now.Sub(s.heldSaid) >= sayHeldEach:
		s.cfg.Logger.Error("HOLDING: too many nodes silent together", "nodes", held, "why", why)
		s.heldSaid = now
	case held == 0 && !s.heldSaid.IsZero():
		s.cfg.Logger.Warn("mass silence is over or released: holding no longer")
		s.heldSaid = time.Time{}
	}
}

// tell has the ledger put back what the silences end: so many a round, and of
// at most one node or daemon that nothing was put back of before.
func (s *Sweeper) tell(ctx context.Context, losses []Loss, now time.Time) error {
	left, begun := s.c.cfg.Times.PerSecond, false
	for _, l := range losses {
		if left <= 0 {
			return nil
		}
		if l.Begins && begun || !s.c.due(l, now) {
			continue
		}
		l.Max = min(l.Max, left)
		lost, more, err := s.losses.Lose(ctx, l.Silence)
		if err != nil {
			return fmt.Errorf("give up node %s: %w", l.Node, err)
		}
		left -= lost
		begun = begun || l.Begins && lost > 0
		if s.c.gone(l, lost, more, now) {
			s.cfg.Logger.Warn("lost", "node", l.Node, "owner", l.Owner, "silent", l.For.Duration())
		}
		if lost > 0 {
			s.cfg.Logger.Info("placements put back", "node", l.Node, "owner", l.Owner, "count", lost, "more", more)
		}
	}
	return nil
}

// probe asks beside the rounds whether the host answers, each few seconds.
func (s *Sweeper) probe(ctx context.Context, probes *errgroup.Group, name placement.NodeID, address string, now time.Time) {
	if !s.c.ask(name, now) {
		return
	}
	started := probes.TryGo(func() error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		answers := s.prober.Answers(ctx, address)
		s.c.answered(name, now, answers)
		return nil
	})
	if !started {
		s.c.askAgain(name)
	}
}
