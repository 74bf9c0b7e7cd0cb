package retryq

import (
	"context"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// endHold ends the hold of a start if it is over: every known node has spoken,
// or the grace has passed. After a change of the generation it first takes in
// what runs and is not known, and makes all records agree with what runs.
func (l *Ledger) endHold(ctx context.Context) error {
	ctx = placement.ActAs(ctx, "ledger")
	if !l.mayEnd() {
		return nil
	}
	select {
	case l.ending <- struct{}{}:
		defer func() { <-l.ending }()
	default:
		return nil // somebody else ends it
	}
	l.mu.Lock()
	start, all := l.mem.hold.start, l.mem.hold.on && l.mem.hold.all
	missing, nodes := l.mem.missing(), len(l.mem.nodes)
	l.mu.Unlock()
	if all {
		if err := l.takeIn(ctx); err != nil {
			return err
		}
		if err := l.reclaim(ctx); err != nil {
			return err
		}
	}
	ended := false
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		l.mu.Lock()
		defer l.mu.Unlock()
		ended = l.mem.hold.on && l.mem.hold.start == start // not the hold of a newer start
		if !ended {
			return nil, nil
		}
		if !l.mem.meta.Hold {
			l.releaseHeld(time.Now())
			return nil, nil
		}
		meta := l.mem.meta
		meta.Hold, meta.Expect, meta.Fork = false, 0, 0
		c.meta = &meta
		c.after = func(_ *memory, now time.Time) { l.releaseHeld(now) }
		return c, nil
	})
	if err == nil && ended && nodes > 0 { // without nodes there was nothing to hold for
		l.log.Info("the ledger holds no longer", "not heard", missing)
	}
	return err
}

func (l *Ledger) mayEnd() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holdOver(time.Now())
}

// releaseHeld lets everything that waits be offered again, spread over a
// moment, and begins the start timers anew. The lock is held.
func (l *Ledger) releaseHeld(now time.Time) {
	m := &l.mem
	m.hold = hold{start: m.hold.start}
	for _, id := range sortedKeys(m.places) {
		e := m.places[id]
		if !e.startBy.IsZero() {
			e.startBy = now.Add(l.cfg.StartTimeout)
		}
		if e.rec.State == placement.Pending && m.queue.items[id] == nil {
			l.enqueue(e, now.Add(l.dice.UpTo(startJitter, string(id))))
		}
	}
	for key, a := range m.apps { // nothing was rolled out meanwhile
		if !a.settled {
			m.rolls[key] = true
		}
	}
	l.wake()
}

// runningCopy is a copy that a node listed, and as of which of its agent's
// operations.
type runningCopy struct {
	holder placement.Holder
	copied placement.Copy
}

// reclaim makes the records of a rolled-back ledger agree with what its nodes
// listed.
func (l *Ledger) reclaim(ctx context.Context) error {
	best, present, listed := l.inventory()
	l.mu.Lock()
	ids := sortedKeys(l.mem.places)
	l.mu.Unlock()
	for _, id := range ids {
		if err := l.unconfirm(ctx, id, best, present, listed); err != nil {
			return err
		}
	}
	for _, id := range sortedKeys(best) {
		if err := l.readopt(ctx, id, best[id].holder); err != nil {
			return err
		}
	}
	return nil
}

// daemonOf is an owner's daemon on a node. One that could not be listed says
// nothing about its copies, though its node was.
type daemonOf struct {
	node  placement.NodeID
	owner string
}

// inventory is what the nodes listed under this start: of each placement the
// running copy with the highest epoch, and whether a (node, epoch) is there in
// any form; and which daemons were listed.
func (l *Ledger) inventory() (best map[placement.ID]runningCopy, present map[placement.ID][]placement.Holder, listed map[daemonOf]bool) {
	best, present, listed = make(map[placement.ID]runningCopy), make(map[placement.ID][]placement.Holder), make(map[daemonOf]bool)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, node := range sortedKeys(l.mem.nodes) {
		n := l.mem.nodes[node]
		if !n.registered || !n.listed || n.listing == nil || n.listing.at == nil {
			continue
		}
		for _, d := range n.listing.daemons {
			root := n.rec.Roots[d.Owner]
			listed[daemonOf{node, d.Owner}] = d.OK && (root == "" || root == d.Root)
		}
		for _, c := range n.listing.copies {
			h := placement.Holder{Node: node, Epoch: c.Epoch, At: *n.listing.at}
			present[c.ID] = append(present[c.ID], h)
			if c.State == placement.CopyRunning && c.Epoch > best[c.ID].holder.Epoch {
				best[c.ID] = runningCopy{holder: h, copied: c}
			}
		}
	}
	return best, present, listed
}

// unconfirm puts a record back whose bound copy is not the one to keep.
func (l *Ledger) unconfirm(ctx context.Context, id placement.ID, best map[placement.ID]runningCopy, present map[placement.ID][]placement.Holder, listed map[daemonOf]bool) error {
	return l.loss(ctx, id, "not confirmed after the ledger was rolled back", func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome) {
		if rec.Bound == nil {
			return rec, slot, rule.Nothing
		}
		here := slices.ContainsFunc(present[id], func(h placement.Holder) bool { return rec.Bound.Is(h.Node, h.Epoch) })
		keep, runs := best[id]
		if here && (!runs || rec.Bound.Is(keep.holder.Node, keep.holder.Epoch) || rec.Leaving()) {
			return rec, slot, rule.Nothing
		}
		return rule.Unconfirmed(rec, slot, listed[daemonOf{rec.Bound.Node, id.Owner()}], next)
	})
}

// readopt binds the copy to keep, if the record does not name it already.
func (l *Ledger) readopt(ctx context.Context, id placement.ID, h placement.Holder) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, ok := l.find(id)
		if !ok || rec.Live() && rec.Bound.Is(h.Node, h.Epoch) {
			return nil, nil
		}
		node, _ := l.nodeRecord(h.Node)
		key := slotKey(rec, node.NodeRecord)
		slot, err := l.slot(ctx, c, key)
		if err != nil {
			return nil, err
		}
		next, slot, ok := rule.Reclaim(rec, slot, key, h)
		if !ok {
			return nil, nil
		}
		c.put(next, rev)
		c.setSlot(key, slot, token(rec))
		c.why = "the highest epoch that runs, after the ledger was rolled back or lost"
		return c, nil
	})
}
