package retryq

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// silentTaker is how long a node that took an offer may be quiet about it.
const silentTaker = 15 * time.Second

// Next blocks until a placement is due and puts it into the caller's hand: it
// is not given again until the caller has settled it, which it always must. Of
// waiting placements with equal needs only the oldest is given.
func (l *Ledger) Next(ctx context.Context) (placement.Try, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return placement.Try{}, ctx.Err()
	}
	defer func() { <-l.turn }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		try, wait, ok := l.take()
		if ok {
			return try, nil
		}
		timer.Reset(wait)
		select {
		case <-l.dueWake:
		case <-timer.C:
		case <-ctx.Done():
			return placement.Try{}, ctx.Err()
		}
	}
}

// take gives what is due, or how long to wait for it.
func (l *Ledger) take() (placement.Try, time.Duration, bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.mem.queue
	w := q.take(now)
	if w == nil {
		if due, ok := q.next(); ok {
			return placement.Try{}, due.Sub(now), false
		}
		return placement.Try{}, time.Hour, false
	}
	e := l.mem.places[w.id]
	e.phase, e.early = "looking for a node", nil
	l.waited(e, now)
	return placement.Try{
		ID: e.rec.ID, Epoch: e.rec.Epoch, Mark: l.mark(), Request: e.rec.Request, Tries: e.tries,
		Lockless: e.lockless, Node: l.home(e), Barred: l.mem.barred(e.rec), Trace: e.trace.parent,
	}, 0, true
}

// Settle ends a try. Taken, the placement waits for the bind of the node that
// works on it; otherwise it is due again after a backoff, with the reasons kept.
// A try whose placement changed meanwhile is forgotten; a node that took one
// that was removed meanwhile is told.
func (l *Ledger) Settle(t placement.Try, o placement.Outcome) {
	now := time.Now()
	u := l.dice.Unit("settle " + string(t.ID))
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.tried(t.ID, t.Epoch)
	if e == nil {
		if l.mem.places[t.ID] == nil && o.Taken != "" {
			l.orderAt(o.Taken, t.ID, t.Epoch, "removed")
			l.wake()
		}
		return
	}
	w := l.mem.queue.items[t.ID]
	if w == nil || w.place != inHand {
		return
	}
	if why, gave := e.early[o.Taken]; gave {
		o.Passes, o.Taken = append(slices.Clone(o.Passes), placement.Pass{Node: o.Taken, Reason: why}), ""
	}
	if o.Taken != "" {
		e.take(o.Taken, now)
	}
	if len(e.takers) > 0 {
		if e.phase == "looking for a node" {
			e.phase = "taken by " + string(o.Taken)
		}
		l.mem.queue.work(t.ID, now)
		l.publish(e, "")
		l.wake()
		return
	}
	e.sum = rule.SumUp(o)
	e.why = rule.Tell(e.sum)
	e.lockless = rule.OnlyLocks(o)
	e.solo = e.solo || slices.ContainsFunc(o.Passes, func(p placement.Pass) bool { return ownFault(p.Reason.Code) })
	l.again(e, now, u)
	l.die(e, o.Passes)
}

// tried is the waiting placement that an offer was about; nil if it changed.
func (l *Ledger) tried(id placement.ID, epoch placement.Epoch) *entry {
	e := l.mem.places[id]
	if e == nil || e.rec.State != placement.Pending || e.rec.Epoch != epoch {
		return nil
	}
	return e
}

// again counts a try that came to nothing and lines up for the next.
func (l *Ledger) again(e *entry, now time.Time, u float64) {
	due := now.Add(rule.Backoff(e.tries, u))
	e.tries++
	e.phase, e.trace.from = "", now
	l.enqueue(e, due)
	l.publish(e, "")
	l.wake()
}

func (e *entry) take(node placement.NodeID, now time.Time) {
	if e.takers == nil {
		e.takers = make(map[placement.NodeID]time.Time)
	}
	e.takers[node] = now
}

// Progress takes the word of a node that works on an offer: no other is asked
// until 15 s went by without one, or it gave the offer up. A word about an old
// offer is dropped.
func (l *Ledger) Progress(p placement.Progress) {
	now := time.Now()
	u := l.dice.Unit("given " + string(p.ID))
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Cluster != l.mem.meta.Cluster {
		return
	}
	e := l.tried(p.ID, p.Epoch)
	if e == nil {
		l.starting(p)
		return
	}
	if p.Given != nil {
		l.given(e, p, now, u)
		return
	}
	e.take(p.Node, now)
	if w := l.mem.queue.items[p.ID]; w != nil && w.place == lined {
		l.mem.queue.work(p.ID, now)
	}
	if e.phase != p.Phase {
		e.phase = p.Phase
		l.publish(e, "")
	}
	l.wake()
}

// starting shows the phase of a copy that is bound already.
func (l *Ledger) starting(p placement.Progress) {
	e := l.mem.places[p.ID]
	if e == nil || e.rec.State != placement.Bound || !e.rec.Bound.Is(p.Node, p.Epoch) || p.Given != nil || e.phase == p.Phase {
		return
	}
	e.phase = p.Phase
	l.publish(e, "")
}

// given takes a node off the placement. When it was the last one at work, this
// counts as a try. What is wrong with the placement itself must not hold up
// others with equal needs.
func (l *Ledger) given(e *entry, p placement.Progress, now time.Time, u float64) {
	delete(e.takers, p.Node)
	pass := placement.Pass{Node: p.Node, Reason: *p.Given}
	w := l.mem.queue.items[p.ID]
	if w != nil && w.place == inHand {
		if e.early == nil {
			e.early = make(map[placement.NodeID]placement.Reason)
		}
		e.early[p.Node] = *p.Given
	}
	if len(e.takers) > 0 || w == nil || w.place != working {
		return
	}
	o := placement.Outcome{Asked: 1, Passes: []placement.Pass{pass}}
	e.sum = rule.SumUp(o)
	e.why = "given up by " + string(p.Node) + ": " + p.Given.String()
	e.lockless = rule.OnlyLocks(o)
	e.solo = e.solo || ownFault(p.Given.Code)
	l.again(e, now, u)
	l.die(e, o.Passes)
}

// ownFault tells whether a reason lies in the placement rather than in how full
// the nodes are.
func ownFault(code string) bool {
	return code == placement.ReasonImage || code == placement.ReasonStart
}

// overdue puts back what nobody has said a word about for too long.
func (l *Ledger) overdue(now time.Time) {
	for _, id := range sortedKeys(l.mem.queue.busy) {
		e := l.mem.places[id]
		if e == nil {
			continue
		}
		maps.DeleteFunc(e.takers, func(_ placement.NodeID, last time.Time) bool { return now.Sub(last) >= silentTaker })
		if len(e.takers) > 0 {
			continue
		}
		e.trace.from = now
		e.phase, e.why = "", cmp.Or(e.why, "the node that took it was not heard of again")
		l.enqueue(e, now)
		l.publish(e, "")
	}
}

// MoreRoom says that a node has this much free now: of what waits for room and
// fits, the smallest and the oldest are due at once.
func (l *Ledger) MoreRoom(node placement.NodeID, free placement.Resources) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mem.queue.moreRoom(now, func(w *waiting) bool {
		e := l.mem.places[w.id]
		return e != nil && !e.solo && free.Fits(w.size) && onlyOn(e.rec.Request.Node, node) && onlyOn(l.home(e), node)
	})
	l.wake()
}

// onlyOn tells whether what asks for one node, or for any, may be on this one.
func onlyOn(asked, node placement.NodeID) bool { return asked == "" || asked == node }

// die notes which nodes say that no node can ever run the placement. Two make
// it DEAD, or one that is alone.
func (l *Ledger) die(e *entry, passes []placement.Pass) {
	known := l.mem.known()
	for _, p := range passes {
		if !p.Reason.Final {
			continue
		}
		if e.finals == nil {
			e.finals = make(map[placement.NodeID]string)
		}
		e.finals[p.Node] = p.Reason.String()
		if len(e.finals) >= min(2, max(known, 1)) {
			l.mem.dying[e.rec.ID] = p.Reason.String()
		}
	}
}
