package retryq

import (
	"context"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// seenRunning marks a bound copy as running. It is an observation that reports
// give again, so it is told at once and written behind. The lock is held.
func (l *Ledger) seenRunning(e *entry, now time.Time) {
	if e.rec.State == placement.Running {
		return
	}
	old := e.rec
	l.seen(e, e.since, now)
	e.rec, e.since = rule.Run(e.rec), now
	e.runs(now)
	l.mem.dirty[e.rec.ID] = true
	l.changed(e, old)
	l.wake()
}

// seenEnded marks a bound copy as ended: its agent will ask what becomes of it,
// or it is lost after the start timeout. The lock is held.
func (l *Ledger) seenEnded(e *entry, now time.Time) {
	if e.rec.State != placement.Running {
		return
	}
	old := e.rec
	ran := e.ran(now) >= rule.RestartRan
	e.rec.State, e.since = placement.Bound, now
	e.starts(now, now.Add(l.cfg.StartTimeout))
	e.phase, e.fresh = "ended", ran
	delete(l.mem.dirty, e.rec.ID)
	l.changed(e, old)
}

// writesAtOnce bounds the records of one transaction that is written behind.
const writesAtOnce = 100

// writeBehind makes durable what was seen running, and the deadlines that are
// left. A record that changed meanwhile is passed over.
func (l *Ledger) writeBehind(ctx context.Context) error {
	l.mu.Lock()
	ids := sortedKeys(l.mem.dirty)
	l.mu.Unlock()
	for len(ids) > 0 {
		some := ids[:min(writesAtOnce, len(ids))]
		ids = ids[len(some):]
		if err := l.writeSome(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) writeSome(ctx context.Context, ids []placement.ID) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		c.by = "reports"
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, id := range ids {
			if e := l.mem.places[id]; e != nil && l.mem.dirty[id] {
				c.put(e.rec, e.rev)
			}
		}
		if len(c.records) == 0 {
			return nil, nil
		}
		return c, nil
	})
}

// keepDeadlines writes what is left of each deadline.
func (l *Ledger) keepDeadlines(ctx context.Context) error {
	now := time.Now()
	l.mu.Lock()
	for _, e := range l.mem.places {
		if e.rec.State == placement.Pending && !e.deadlineAt.IsZero() {
			e.rec.Left = e.left(now)
			l.mem.dirty[e.rec.ID] = true
		}
	}
	l.mu.Unlock()
	return l.writeBehind(ctx)
}
