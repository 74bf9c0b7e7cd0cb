package retryq

import (
	"context"
	"fmt"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

type lossRule func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome)

// loss applies a rule that may take a copy away from its node: what it held
// waits again, due now, or is buried.
func (l *Ledger) loss(ctx context.Context, id placement.ID, why string, apply lossRule) error {
	return l.lossAs(ctx, id, "", why, apply)
}

// lossAs is loss with an epoch drawn before; see [Ledger.epochAbove].
func (l *Ledger) lossAs(ctx context.Context, id placement.ID, spare placement.Epoch, why string, apply lossRule) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, ok := l.find(id)
		if !ok {
			return nil, nil
		}
		slot, err := l.slot(ctx, c, rec.Slot)
		if err != nil {
			return nil, err
		}
		next, slot, outcome := apply(rec, slot, l.epochAbove(rec, spare))
		if outcome == rule.Nothing {
			return nil, nil
		}
		c.why = why
		c.setSlot(rec.Slot, slot, token(rec))
		if outcome == rule.Gone {
			l.buryIn(c, next, rev)
			return c, nil
		}
		c.put(next, rev)
		if outcome == rule.Rest {
			return c, nil
		}
		c.after = func(m *memory, _ time.Time) {
			if e := m.places[id]; e != nil {
				e.why = why
				l.publish(e, rec.Bound.Node)
			}
		}
		return c, nil
	})
}

// buryIn buries a placement that is proven gone: the next life of its replica
// may begin.
func (l *Ledger) buryIn(c *change, rec rule.Record, rev uint64) {
	c.bury(rec, rev)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.mem.replicas[rec.ID.Replica()]; r != nil {
		c.putReplica(r.rec.Without(rec.ID.Life()), r.rev)
	}
}

// Lose puts back what a silent node held, or one owner's daemon on it: each
// placement whose own lost_after has passed, at most s.Max of them now (0: all).
// The copies of CANCELLED and stopped ones count as gone. more tells that the same silence ends more than
// was put back now. The caller asks again as the silence grows.
func (l *Ledger) Lose(ctx context.Context, s placement.Silence) (lost int, more bool, err error) {
	ctx = placement.ActAs(ctx, "sweeper")
	ids, more := l.silent(s)
	for _, id := range ids {
		rec, _, ok := l.find(id)
		if !ok {
			continue
		}
		if s.Max > 0 && lost >= s.Max && !rec.Leaving() {
			more = true
			continue
		}
		why := fmt.Sprintf("node %s has been silent for %s", s.Node, s.For.Duration().Round(time.Second))
		err := l.loss(ctx, id, why, func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Lose(rec, slot, s.Node, next)
		})
		if err != nil {
			return lost, true, err
		}
		if !rec.Leaving() {
			lost++
		}
	}
	return lost, more, nil
}

// silent lists what the silence has made lost. While the ledger holds that is
// nothing yet, which is what more then says.
func (l *Ledger) silent(s placement.Silence) (ids []placement.ID, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.mem.nodes[s.Node]
	if n == nil {
		return nil, false
	}
	if l.mem.hold.on {
		return nil, len(n.bound) > 0
	}
	counts := s.For.Duration()
	if s.HostAnswers && counts < hostLost {
		counts = 0
	}
	if n.lostFor == nil {
		n.lostFor = make(map[string]time.Duration)
	}
	n.lostFor[s.Owner] = counts
	for _, id := range sortedKeys(n.bound) {
		e := n.bound[id]
		switch {
		case s.Owner != "" && id.Owner() != s.Owner:
		case counts > 0 && counts >= lostAfter(e.rec, l.cfg.Lost):
			ids = append(ids, id)
		}
	}
	return ids, false
}

// giveUp puts back everything that a given-up node held, at once.
func (l *Ledger) giveUp(ctx context.Context, node placement.NodeID) error {
	l.mu.Lock()
	ids := sortedKeys(l.mem.node(node).bound)
	l.mu.Unlock()
	for _, id := range ids {
		err := l.loss(ctx, id, "node "+string(node)+" was given up", func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Lose(rec, slot, node, next)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loseBadRoots treats a daemon that shows another data-root than the recorded
// one as silent.
func (l *Ledger) loseBadRoots(ctx context.Context, node placement.NodeID) error {
	now := time.Now()
	l.mu.Lock()
	n := l.mem.node(node)
	var lost []placement.ID
	for _, id := range sortedKeys(n.bound) {
		since := n.badRoots[id.Owner()]
		if !l.mem.hold.on && !since.IsZero() && now.Sub(since) >= lostAfter(n.bound[id].rec, l.cfg.Lost) {
			lost = append(lost, id)
		}
	}
	l.mu.Unlock()
	for _, id := range lost {
		err := l.loss(ctx, id, "the daemon of "+id.Owner()+" on "+string(node)+" has another data-root", func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Lose(rec, slot, node, next)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
