package retryq

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// heardReport is one report while it is applied.
type heardReport struct {
	l       *Ledger
	node    placement.NodeID
	session uint64
	full    bool
	listing listing
	trust   rule.Trust
	held    bool
	ok      map[string]bool // owners whose daemon was listed, with the recorded data-root
	roots   map[string]string

	mu      sync.Mutex // guards what follows
	orders  []placement.StopOrder
	unknown []placement.Copy
}

// daemons settles which owners' daemons speak: those that were listed, and
// whose data-root is the recorded one. A root is recorded when it is first
// seen, and again when nothing of its owner is bound on the node.
func (h *heardReport) daemons(n *nodeEntry, now time.Time) {
	h.ok, h.roots = make(map[string]bool), make(map[string]string)
	bound := make(map[string]bool)
	for id := range n.bound {
		bound[id.Owner()] = true
	}
	for _, d := range h.listing.daemons {
		known := n.rec.Roots[d.Owner]
		switch {
		case !d.OK:
			continue
		case d.Root != known && known != "" && bound[d.Owner]:
			if n.badRoots == nil {
				n.badRoots = make(map[string]time.Time)
			}
			if n.badRoots[d.Owner].IsZero() {
				n.badRoots[d.Owner] = now
			}
			continue
		case d.Root != known:
			h.roots[d.Owner] = d.Root
		}
		delete(n.badRoots, d.Owner)
		h.ok[d.Owner] = true
	}
}

// shownCopy is a copy that a listing shows in any form.
type shownCopy struct {
	id    placement.ID
	epoch placement.Epoch
}

// reportsAtOnce bounds the transactions of one report that run together, so
// that they share the store's writes.
const reportsAtOnce = 64

// apply applies each copy that is shown, then what a complete listing does not
// show.
func (h *heardReport) apply(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(reportsAtOnce)
	shown := make(map[shownCopy]bool, len(h.listing.copies))
	for _, c := range h.listing.copies {
		if h.full && !h.ok[c.ID.Owner()] {
			continue
		}
		if c.State != placement.CopyGone {
			shown[shownCopy{c.ID, c.Epoch}] = true
		}
		if h.see(c) {
			all.Go(func() error { return h.change(ctx, c) })
		}
	}
	if h.full && h.trust.At != nil && !h.held {
		for _, id := range h.absent(shown) {
			spare := h.l.epoch()
			all.Go(func() error { return h.lose(ctx, id, spare) })
		}
	}
	return all.Wait()
}

// see applies what needs no transaction, and tells whether one is needed.
func (h *heardReport) see(c placement.Copy) bool {
	l := h.l
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.mem.places[c.ID]
	if e == nil {
		return true
	}
	_, _, sight := rule.Seen(e.rec, rule.Slot{}, "", h.node, c, h.trust)
	switch {
	case sight.Changed:
		return true
	case sight.Stop != "":
		h.order(c, sight.Stop)
	case sight.Running:
		l.seenRunning(e, now)
	case sight.Ended && (h.listing.at == nil || h.listing.at.Compare(e.rec.Bound.At) >= 0):
		l.seenEnded(e, now)
	}
	return false
}

// order adds a stop order; the ledger's lock is held.
func (h *heardReport) order(c placement.Copy, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.orders = append(h.orders, h.l.stopOrder(c.ID, c.Epoch, why))
}

// change applies a copy whose record, or slot, differs after it; or one that
// the ledger does not have.
func (h *heardReport) change(ctx context.Context, copied placement.Copy) error {
	l := h.l
	var sight rule.Sight
	known := true
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, ok := l.find(copied.ID)
		if known = ok; !ok {
			return nil, nil
		}
		node, _ := l.nodeRecord(h.node)
		key := slotKey(rec, node.NodeRecord)
		slot, err := l.slot(ctx, c, key)
		if err != nil {
			return nil, err
		}
		var next rule.Record
		next, slot, sight = rule.Seen(rec, slot, key, h.node, copied, h.trust)
		if !sight.Changed {
			return nil, nil
		}
		c.put(next, rev)
		c.setSlot(key, slot, token(rec))
		return c, nil
	})
	if err != nil {
		return err
	}
	if !known {
		return h.stranger(ctx, copied)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sight.Stop != "" {
		h.order(copied, sight.Stop)
	}
	return nil
}

// stranger handles a copy without a live record: stopped if its placement is
// buried, otherwise quarantined.
func (h *heardReport) stranger(ctx context.Context, c placement.Copy) error {
	tomb, err := h.l.buried(ctx, c.ID)
	if err != nil {
		return err
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.l.mem.places[c.ID] != nil {
		return nil // submitted meanwhile
	}
	if tomb && h.trust.Orders && c.State != placement.CopyGone {
		h.order(c, "it was removed")
	}
	if !tomb && c.State != placement.CopyGone {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.unknown = append(h.unknown, c)
	}
	return nil
}

// absent lists what is bound on the node, was not shown, and could have been.
func (h *heardReport) absent(shown map[shownCopy]bool) []placement.ID {
	l := h.l
	l.mu.Lock()
	defer l.mu.Unlock()
	var absent []placement.ID
	bound := l.mem.node(h.node).bound
	for _, id := range sortedKeys(bound) {
		e := bound[id]
		if h.ok[id.Owner()] && !shown[shownCopy{id, e.rec.Bound.Epoch}] && h.trust.At.Compare(e.rec.Bound.At) >= 0 {
			absent = append(absent, id)
		}
	}
	return absent
}

// lose applies an absence.
func (h *heardReport) lose(ctx context.Context, id placement.ID, spare placement.Epoch) error {
	return h.l.lossAs(ctx, id, spare, "its container is gone from "+string(h.node), func(rec rule.Record, slot rule.Slot, next placement.Epoch) (rule.Record, rule.Slot, rule.Outcome) {
		return rule.Absent(rec, slot, h.node, *h.trust.At, next)
	})
}
