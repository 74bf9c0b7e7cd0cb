package retryq

import (
	"context"
	"fmt"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

const (
	waitHold    = placement.Millis(1000)   // ask again while the ledger holds
	waitUnknown = placement.Millis(60_000) // ask again about a placement nobody knows
)

// Bind decides whether a node may start a copy, or what becomes of one that
// ended (step 4; exits of step 6). A yes is durable before it is given.
func (l *Ledger) Bind(ctx context.Context, b placement.Bind) (placement.BindAnswer, error) {
	if err := l.wrongCluster(b.Cluster); err != nil {
		return placement.BindAnswer{}, err
	}
	ctx = placement.ActAs(ctx, placement.RoleAgent+"/"+string(b.Node))
	var a rule.Answer
	var wait placement.Millis
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		var err error
		a, wait, err = l.answer(ctx, c, b)
		if err != nil || !a.Changed {
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		return placement.BindAnswer{}, err
	}
	l.refused(b, a)
	answer := placement.BindAnswer{Mark: l.Mark(), At: b.At, Verdict: a.Verdict, Wait: wait}
	if a.Reason != nil {
		answer.Reason = a.Reason.String()
	}
	return answer, nil
}

// answer decides, and fills the transaction if something changes.
func (l *Ledger) answer(ctx context.Context, c *change, b placement.Bind) (rule.Answer, placement.Millis, error) {
	node, hold, ok := l.asker(b)
	if !ok {
		return rule.Answer{Verdict: placement.VerdictStale, Reason: &placement.Reason{Code: placement.ReasonBind, Text: "not under the session given by this start"}}, 0, nil
	}
	rec, rev, ok := l.find(b.ID)
	if !ok {
		return l.answerUnknown(ctx, b, hold)
	}
	if hold.holds(b.ID) && !mayWhileHeld(hold, rec, b) {
		return rule.Answer{Verdict: placement.VerdictWait}, waitHold, nil
	}
	key := slotKey(rec, node)
	if rec.Live() && rec.Bound.Is(b.Node, b.Epoch) {
		key = rec.Slot
	}
	slot, err := l.slot(ctx, c, key)
	if err != nil {
		return rule.Answer{}, 0, err
	}
	next, slot2, a, wait := l.decide(rec, slot, key, node, b)
	if hold.holds(b.ID) && a.Verdict != placement.VerdictYes {
		return rule.Answer{Verdict: placement.VerdictWait}, waitHold, nil
	}
	if a.Changed {
		c.put(next, rev)
		c.setSlot(key, slot2, token(rec))
		if b.Exit != nil {
			c.why = fmt.Sprintf("its copy ended with exit code %d", *b.Exit)
		} else if a.Reason != nil {
			c.why = "bind refused: " + a.Reason.String()
		}
	}
	return a, wait, nil
}

// mayWhileHeld tells whether a bind that the ledger holds can still be a yes:
// the copy is bound already, or may be adopted.
func mayWhileHeld(h hold, rec rule.Record, b placement.Bind) bool {
	return !h.all && (rec.Live() && rec.Bound.Is(b.Node, b.Epoch) || rec.Last.Is(b.Node, b.Epoch))
}

// asker returns the record of the node that asks; not ok if it is not
// registered with this start under the session it names.
func (l *Ledger) asker(b placement.Bind) (placement.NodeRecord, hold, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.mem.nodes[b.Node]
	if n == nil || !n.registered || n.rec.Session != b.At.Session {
		return placement.NodeRecord{}, l.mem.hold, false
	}
	return n.rec.NodeRecord, l.mem.hold, true
}

// decide calls the rule for a start or for an exit.
func (l *Ledger) decide(rec rule.Record, slot rule.Slot, key string, node placement.NodeRecord, b placement.Bind) (rule.Record, rule.Slot, rule.Answer, placement.Millis) {
	if b.Exit == nil {
		next, slot, a := rule.Bind(rec, slot, key, node, b)
		return next, slot, a, 0
	}
	epoch := l.epoch()
	wait, fresh := l.restartWait(rec, b)
	if fresh {
		rec.Restarts = 0
	}
	next, slot, a := rule.Exit(rec, slot, key, node, b, epoch, wait)
	if a.Verdict != placement.VerdictWait {
		return next, slot, a, 0
	}
	return next, slot, a, millis(wait + time.Millisecond - 1)
}

// restartWait is how long the copy that ended backs off, counted from the first
// question about this exit; fresh, if it ran for so long that it counts as new.
func (l *Ledger) restartWait(rec rule.Record, b placement.Bind) (wait time.Duration, fresh bool) {
	u := l.dice.Unit("restart " + string(rec.ID))
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.mem.places[rec.ID]
	if e == nil || !e.rec.Live() || !e.rec.Bound.Is(b.Node, b.Epoch) || b.At.Compare(e.rec.Bound.At) <= 0 {
		return 0, false
	}
	if e.restartAt.IsZero() {
		if e.ran(now) >= rule.RestartRan {
			e.fresh = true
		}
		restarts := e.rec.Restarts
		if e.fresh {
			restarts = 0
		}
		e.restartAt = now.Add(rule.RestartDelay(restarts, u))
	}
	wait = e.restartAt.Sub(now)
	if wait > 0 {
		l.backsOff(e, *b.Exit, wait, now)
	}
	return wait, e.fresh
}

// backsOff shows a copy that waits for its restart; it is not late meanwhile.
func (l *Ledger) backsOff(e *entry, code int, wait time.Duration, now time.Time) {
	if e.rec.State == placement.Running {
		e.rec.State, e.since, e.ranFrom = placement.Bound, now, time.Time{}
		delete(l.mem.dirty, e.rec.ID)
	}
	e.startBy = now.Add(wait + l.cfg.StartTimeout)
	e.phase = "restarting"
	e.why = fmt.Sprintf("exit code %d, restarts in %s", code, wait.Round(time.Second))
	l.publish(e, "")
}

// answerUnknown is the word about a placement that is no live record: one that
// is buried is not wanted; one that nobody knows is kept aside.
func (l *Ledger) answerUnknown(ctx context.Context, b placement.Bind, h hold) (rule.Answer, placement.Millis, error) {
	tomb, err := l.buried(ctx, b.ID)
	switch {
	case err != nil:
		return rule.Answer{}, 0, err
	case tomb && !h.on:
		return rule.Answer{Verdict: placement.VerdictNo, Reason: &placement.Reason{Code: placement.ReasonBind, Text: "the placement was removed"}}, 0, nil
	case tomb, h.on && h.all: // it may be taken in
		return rule.Answer{Verdict: placement.VerdictWait}, waitHold, nil
	}
	return rule.Answer{Verdict: placement.VerdictWait, Reason: &placement.Reason{Code: placement.ReasonBind, Text: "the ledger does not know the placement"}}, waitUnknown, nil
}

// buried tells whether there is a tombstone for the placement.
func (l *Ledger) buried(ctx context.Context, id placement.ID) (bool, error) {
	items, err := l.store.Get(ctx, tombKey(id))
	if err != nil {
		return false, unavailable(err)
	}
	return items[0].Rev > 0, nil
}

// refused takes a node that was told no off the placement, with its reason.
func (l *Ledger) refused(b placement.Bind, a rule.Answer) {
	if a.Verdict != placement.VerdictNo || a.Reason == nil {
		return
	}
	now, u := time.Now(), l.dice.Unit("refused "+string(b.ID))
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.tried(b.ID, b.Epoch); e != nil {
		l.given(e, placement.Progress{Node: b.Node, ID: b.ID, Given: a.Reason}, now, u)
	}
}

// Failed takes the word that Docker refused to start a bound copy, which the
// agent has removed: it waits again, after a backoff. Any other such word is
// dropped.
func (l *Ledger) Failed(ctx context.Context, f placement.Failed) error {
	if err := l.wrongCluster(f.Cluster); err != nil {
		return err
	}
	if _, _, ok := l.asker(placement.Bind{Node: f.Node, At: f.At}); !ok {
		return nil
	}
	ctx = placement.ActAs(ctx, placement.RoleAgent+"/"+string(f.Node))
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, ok := l.find(f.ID)
		if !ok {
			return nil, nil
		}
		slot, err := l.slot(ctx, c, rec.Slot)
		if err != nil {
			return nil, err
		}
		next, slot, outcome := rule.Failed(rec, slot, f, l.epoch())
		if outcome == rule.Nothing {
			return nil, nil
		}
		c.put(next, rev)
		c.setSlot(rec.Slot, slot, token(rec))
		c.why = "start refused: " + f.Reason.String()
		u := l.dice.Unit("failed " + string(f.ID))
		l.mu.Lock()
		tries := 0
		if e := l.mem.places[f.ID]; e != nil {
			tries, e.solo = e.tries, true
		}
		l.mu.Unlock()
		c.delay[f.ID] = rule.Backoff(tries, u)
		c.after = func(m *memory, now time.Time) { l.startRefused(m.places[f.ID], f) }
		return c, nil
	})
}

// startRefused keeps why a start failed.
func (l *Ledger) startRefused(e *entry, f placement.Failed) {
	if e == nil {
		return
	}
	pass := placement.Pass{Node: f.Node, Reason: f.Reason}
	e.tries++
	e.sum = rule.SumUp(placement.Outcome{Asked: 1, Passes: []placement.Pass{pass}})
	e.why = "start refused on " + string(f.Node) + ": " + f.Reason.String()
	l.die(e, []placement.Pass{pass})
	l.publish(e, f.Node)
}
