package retryq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/retryq/rule"
)

// change gathers what one transaction reads and writes, and what follows from
// it in memory once it is durable.
type change struct {
	growth   bool // may be refused on a full disk
	expect   map[string]uint64
	records  []rule.Record
	buried   []rule.Record
	replicas []rule.Replica
	app      *rule.App
	nodes    []rule.Node
	meta     *rule.Meta
	tombs    []rule.Tomb // with less time left; without any they are deleted
	slots    map[string]*slotChange
	delay    map[placement.ID]time.Duration // until a record that waits again is due
	by       string                         // who does it, as the log says
	why      string                         // the reason that the log gives, where the records have none
	forget   []string                       // keys of the log's oldest entries
	logged   *logged                        // its entry of the log
	trace    string                         // W3C traceparent that what it puts into the queue belongs to
	after    func(m *memory, now time.Time) // in the same step of memory
}

type slotChange struct {
	slot  rule.Slot
	dirty bool
	freed bool
	token string // owner/token, as the queue knows it
}

// newChange begins a transaction that holds only within the present start.
func (l *Ledger) newChange() *change {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := blankChange()
	c.expect[metaKey] = l.mem.metaRev
	return c
}

func blankChange() *change {
	return &change{expect: make(map[string]uint64), slots: make(map[string]*slotChange), delay: make(map[placement.ID]time.Duration)}
}

// ops is the larger of the numbers of expectations and changes.
func (c *change) ops() int {
	n := len(c.records) + 2*len(c.buried) + len(c.replicas) + len(c.nodes) + len(c.slots) + 3
	return max(n, len(c.expect))
}

// put writes a record that was read at rev.
func (c *change) put(rec rule.Record, rev uint64) {
	c.expect[placementKey(rec.ID)] = rev
	c.records = append(c.records, rec)
}

// bury replaces a record by its tombstone.
func (c *change) bury(rec rule.Record, rev uint64) {
	c.expect[placementKey(rec.ID)] = rev
	c.buried = append(c.buried, rec)
}

// putReplica writes a replica that was read at rev; an empty one is deleted.
func (c *change) putReplica(r rule.Replica, rev uint64) {
	c.expect[replicaKey(r.Replica)] = rev
	c.replicas = append(c.replicas, r)
}

func (c *change) putNode(n rule.Node, rev uint64) {
	n.V = placement.Format
	c.expect[nodeKey(n.Node)] = rev
	c.nodes = append(c.nodes, n)
}

// slot reads an HA slot, once a transaction.
func (l *Ledger) slot(ctx context.Context, c *change, key string) (rule.Slot, error) {
	if key == "" {
		return rule.Slot{}, nil
	}
	if s := c.slots[key]; s != nil {
		return s.slot, nil
	}
	items, err := l.store.Get(ctx, key)
	if err != nil {
		return rule.Slot{}, unavailable(err)
	}
	s := &slotChange{slot: rule.Slot{V: placement.Format}}
	if items[0].Rev > 0 {
		if s.slot, err = decode(items[0], func(s rule.Slot) int { return s.V }); err != nil {
			return rule.Slot{}, err
		}
	}
	c.slots[key] = s
	c.expect[key] = items[0].Rev
	return s.slot, nil
}

// setSlot writes a slot that was read by slot.
func (c *change) setSlot(key string, slot rule.Slot, token string) {
	s := c.slots[key]
	if s == nil || slices.Equal(s.slot.Placements, slot.Placements) {
		return
	}
	s.freed = s.freed || len(slot.Placements) < len(s.slot.Placements)
	s.slot, s.dirty, s.token = slot, true, token
}

// txn is the change as the store takes it.
func (c *change) txn() (Txn, error) {
	t := Txn{Growth: c.growth}
	for key, rev := range c.expect {
		t.Expect = append(t.Expect, Expect{Key: key, Rev: rev})
	}
	slices.SortFunc(t.Expect, func(a, b Expect) int { return cmp.Compare(a.Key, b.Key) })
	var failed error
	put := func(key string, v any) {
		b, err := encode(v)
		failed = errors.Join(failed, err)
		t.Put = append(t.Put, Put{Key: key, Value: b})
	}
	for _, r := range c.records {
		put(placementKey(r.ID), r)
	}
	for _, r := range c.buried {
		t.Delete = append(t.Delete, placementKey(r.ID))
		put(tombKey(r.ID), rule.Bury(r))
	}
	for _, r := range c.replicas {
		if r.Empty() {
			t.Delete = append(t.Delete, replicaKey(r.Replica))
			continue
		}
		put(replicaKey(r.Replica), r)
	}
	for _, tomb := range c.tombs {
		if tomb.Left <= 0 {
			t.Delete = append(t.Delete, tombKey(tomb.ID))
			continue
		}
		put(tombKey(tomb.ID), tomb)
	}
	if c.app != nil {
		put(appKey(c.app.Owner, c.app.Name), *c.app)
	}
	for _, n := range c.nodes {
		put(nodeKey(n.Node), n)
	}
	if c.meta != nil {
		put(metaKey, *c.meta)
	}
	t.Delete = append(t.Delete, c.forget...)
	for _, key := range sortedKeys(c.slots) {
		switch s := c.slots[key]; {
		case s.dirty && len(s.slot.Placements) == 0:
			t.Delete = append(t.Delete, key)
		case s.dirty:
			put(key, s.slot)
		}
	}
	return t, failed
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// commit makes the change durable, and then true in memory. After a conflict
// memory has what it was about.
func (l *Ledger) commit(ctx context.Context, c *change) error {
	t, err := c.txn()
	if err != nil {
		return err
	}
	if key, e := l.entryFor(c); e != nil {
		b, err := encode(e)
		if err != nil {
			return err
		}
		c.logged = e
		t.Put = append(t.Put, Put{Key: key, Value: b})
	}
	rev, err := l.store.Commit(ctx, t)
	if errors.Is(err, ErrConflict) {
		if err := l.catchUp(ctx); err != nil {
			return err
		}
		return ErrConflict
	}
	if err != nil {
		return unavailable(err)
	}
	l.inTurn(c, rev)
	return nil
}

// maxAttempts bounds how often a transition is tried again after a conflict.
const maxAttempts = 100

// change builds and commits until nobody else was faster. build reads memory
// anew each time; it returns nil if there is nothing to do.
func (l *Ledger) change(ctx context.Context, build func() (*change, error)) error {
	for range maxAttempts {
		c, err := build()
		if err != nil || c == nil {
			return err
		}
		c.trace = cmp.Or(c.trace, trace.Parent(ctx))
		c.by = cmp.Or(c.by, placement.Actor(ctx))
		if err = l.commit(ctx, c); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return &placement.Error{Kind: placement.KindConflict, What: "the ledger's record is changed all the time", Why: fmt.Sprintf("%d attempts found it changed meanwhile", maxAttempts), Next: "try again"}
}

// unavailable tells callers that the store failed.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &placement.Error{Kind: placement.KindUnavailable, What: "the ledger cannot be read or written now", Why: err.Error(), Next: "nothing was changed: look at the broadcaster's disk and try again"}
	if errors.Is(err, ErrFull) {
		e.What, e.Why = "the ledger's disk is full", "new work is refused until there is space; rm still works"
	}
	return e
}
