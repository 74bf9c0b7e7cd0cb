package retryq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// How often Run looks at what falls due, and how often it writes what may be
// lost by a crash.
const (
	tickEach     = time.Second
	deadlineEach = time.Minute
	tombEach     = time.Hour
	logEach      = time.Second
)

// Run does what falls due until ctx ends: start timeouts, deadlines, silent
// takers, what a hold waits for and its end, rollouts, tombstones, and what is
// written behind.
// It returns when all of that has ended; what was written behind is then
// durable. A failing store is logged and tried again.
func (l *Ledger) Run(ctx context.Context) error {
	all, running := errgroup.WithContext(ctx)
	all.Go(func() error { return l.rollouts(placement.ActAs(running, "rollout")) })
	all.Go(func() error { return l.fetches(running) })
	all.Go(func() error {
		l.every(running, tickEach, "tick", l.tick)
		return nil
	})
	all.Go(func() error {
		l.every(running, deadlineEach, "keep deadlines", l.keepDeadlines)
		return nil
	})
	all.Go(func() error {
		l.every(running, logEach, "forget old log", l.forgetLog)
		return nil
	})
	all.Go(func() error {
		l.every(running, tombEach, "age tombstones", func(ctx context.Context) error { return l.ageTombs(ctx, tombEach) })
		return nil
	})
	err := all.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if late := l.keepDeadlines(last); late != nil {
		return errors.Join(err, fmt.Errorf("write what was seen last: %w", late))
	}
	return err
}

// every calls f at a jittered phase and then each period until ctx ends.
func (l *Ledger) every(ctx context.Context, period time.Duration, what string, f func(context.Context) error) {
	timer := time.NewTimer(l.dice.UpTo(period, what))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if err := f(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("periodic work failed, will be tried again", "work", what, "err", err)
		}
		timer.Reset(period)
	}
}

// tick does what falls due within a second.
func (l *Ledger) tick(ctx context.Context) error {
	l.askToFetch()
	if err := l.endHold(ctx); err != nil {
		return err
	}
	if l.spent() {
		if err := l.restart(ctx, placement.Mark{}, false); err != nil {
			return err
		}
	}
	l.forgive(time.Now())
	d := l.due(time.Now())
	var failed error
	for _, id := range d.late {
		failed = errors.Join(failed, l.lateStart(ctx, id))
	}
	for _, id := range d.expired {
		failed = errors.Join(failed, l.end(ctx, id, func(r rule.Record) (rule.Record, bool) {
			return rule.Expire(r, fmt.Sprintf("not running within its deadline of %s", r.Within.Duration()))
		}))
	}
	for _, id := range sortedKeys(d.dying) {
		failed = errors.Join(failed, l.end(ctx, id, func(r rule.Record) (rule.Record, bool) { return rule.Die(r, d.dying[id]) }))
	}
	for _, node := range d.givenUp {
		failed = errors.Join(failed, l.giveUp(ctx, node))
	}
	l.mu.Lock()
	if len(l.mem.rolls) > 0 {
		signal(l.rollWake)
	}
	l.mu.Unlock()
	return errors.Join(failed, l.writeBehind(ctx))
}

// pauseGap is a gap between two ticks that shows that this process itself was
// held up: by a stopped machine, or a disk that hung.
const pauseGap = 5 * tickEach

// forgive lets every start timeout, and the time of every node that works on an
// offer, begin again when this process was held up: what they had to say may be
// waiting to be read.
func (l *Ledger) forgive(now time.Time) {
	last := l.ticked
	l.ticked = now
	if last.IsZero() || now.Sub(last) < pauseGap {
		return
	}
	l.log.Warn("held up: start timeouts begin again", "for", now.Sub(last).Round(time.Second))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.mem.places {
		if !e.startBy.IsZero() {
			e.startBy = later(e.startBy, now.Add(l.cfg.StartTimeout))
		}
		for node := range e.takers {
			e.takers[node] = now
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// spent tells that the counter of this start nears its end, so that the next
// start is begun in time.
func (l *Ledger) spent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counter > math.MaxUint32/2
}

// dueWork is what one tick has to do.
type dueWork struct {
	late    []placement.ID // not seen running in time
	expired []placement.ID // waiting beyond their deadline
	dying   map[placement.ID]string
	givenUp []placement.NodeID // with something still bound there
}

func (l *Ledger) due(now time.Time) dueWork {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.mem
	l.overdue(now)
	l.wake()
	d := dueWork{dying: m.dying}
	m.dying = make(map[placement.ID]string)
	for _, id := range sortedKeys(m.nodes) {
		if n := m.nodes[id]; n.rec.GivenUp && len(n.bound) > 0 {
			d.givenUp = append(d.givenUp, id)
		}
	}
	for id, e := range m.places {
		switch {
		case e.rec.State == placement.Bound && !m.hold.on && !e.startBy.IsZero() && !now.Before(e.startBy):
			d.late = append(d.late, id)
		case e.rec.State == placement.Pending && !m.hold.on && !e.deadlineAt.IsZero() && !now.Before(e.deadlineAt):
			d.expired = append(d.expired, id)
		}
	}
	sortIDs(d.late)
	sortIDs(d.expired)
	return d
}

// lateStart gives up a bound copy that was not seen running in time.
func (l *Ledger) lateStart(ctx context.Context, id placement.ID) error {
	why := fmt.Sprintf("not seen running within %s of its start", l.cfg.StartTimeout)
	return l.loss(ctx, id, why, func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome) {
		if rec.State != placement.Bound || !l.isLate(id, rec) {
			return rec, slot, rule.Nothing
		}
		return rule.Lose(rec, slot, rec.Bound.Node, next)
	})
}

// isLate tells whether the start of just this bound copy is still overdue.
func (l *Ledger) isLate(id placement.ID, rec rule.Record) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.mem.places[id]
	return e != nil && e.rec.Bound.Is(rec.Bound.Node, rec.Bound.Epoch) && !l.mem.hold.on && !e.startBy.IsZero() && !now.Before(e.startBy)
}

// end makes a waiting placement DEAD.
func (l *Ledger) end(ctx context.Context, id placement.ID, apply func(rule.Record) (rule.Record, bool)) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, ok := l.find(id)
		if !ok {
			return nil, nil
		}
		if rec, ok = apply(rec); !ok {
			return nil, nil
		}
		c.put(rec, rev)
		return c, nil
	})
}
