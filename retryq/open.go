package retryq

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// Open reads the store and begins a new start: durable before anything is
// answered, and with a new epoch for everything that waits. An empty store
// becomes a new ledger with a cluster ID of its own.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	cfg = cfg.withDefaults()
	l := newLedger(cfg)
	items, err := l.store.Get(ctx, metaKey)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	meta, err := l.openMeta(items[0])
	if err != nil {
		return nil, err
	}
	l.mem.meta, l.mem.metaRev = meta, items[0].Rev
	if l.mem.rev, err = l.store.Revision(ctx); err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	l.mem.audit.from = l.mem.rev
	if err := l.load(ctx); err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	if err := l.restart(ctx, placement.Mark{}, cfg.NewGeneration); err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	return l, nil
}

// openMeta is the ledger's own record: the stored one, or a new one.
func (l *Ledger) openMeta(item Item) (rule.Meta, error) {
	invalid := func(what, why, next string) error {
		return &placement.Error{Kind: placement.KindInvalid, What: what, Why: why, Next: next}
	}
	meta := rule.Meta{V: placement.Format, Gen: 1, Cluster: l.cfg.Cluster}
	if item.Rev > 0 {
		var err error
		if meta, err = decode(item, func(m rule.Meta) int { return m.V }); err != nil {
			return meta, err
		}
	}
	switch id := l.cfg.Cluster; {
	case id != "" && meta.Cluster != id:
		return meta, invalid("the ledger is of cluster "+meta.Cluster, "it is opened as that of cluster "+id, "use its own cluster's certificates (schedctl ca init --cluster "+meta.Cluster+" makes an authority for it), or another data directory")
	case item.Rev > 0 && l.cfg.Rebuild && !meta.Hold:
		l.log.Warn("there is a ledger of this cluster, so it is not made anew: leave --rebuild out", "cluster", id)
	case item.Rev > 0:
	case l.cfg.Rebuild && !isCluster(id):
		return meta, invalid(fmt.Sprintf("%q is no cluster's ID", id), "it has 32 of 0-9 and a-f", `each node keeps it in the file "cluster" of its state directory`)
	case l.cfg.Rebuild:
		// Each node that registers proves that its history is another one: so
		// the generation comes to be above all that any of them has seen.
		meta.Hold, meta.Expect = true, cmp.Or(l.cfg.Nodes, rule.ExpectAny)
	case l.cfg.NewGeneration:
		return meta, invalid("there is no ledger that could take a new generation", "the data directory has none", "if the ledger is lost, give --rebuild with the cluster's ID")
	case id == "":
		meta.Cluster = fmt.Sprintf("%016x%016x", l.dice.Bits("cluster"), l.dice.Bits("cluster, the other half"))
	}
	return meta, nil
}

// isCluster tells whether s has the form of a cluster's ID.
func isCluster(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// load reads every live record into memory.
func (l *Ledger) load(ctx context.Context) error {
	l.mem.hold = hold{on: true, all: true} // nothing is due before the start is durable
	for _, prefix := range []string{nodesPrefix, appsPrefix, replicasPrefix, placementsPrefix} {
		if err := l.store.Scan(ctx, prefix, l.loadItem); err != nil {
			return err
		}
	}
	return l.store.Scan(ctx, logPrefix, func(Item) error {
		l.mem.audit.count++
		return nil
	})
}

// restart begins a new start: at Open, and when a node proves that the ledger
// was rolled back (shown is its mark, and renew is set).
func (l *Ledger) restart(ctx context.Context, shown placement.Mark, renew bool) error {
	random := uint16(l.dice.Bits("start"))
	var began uint64 // revision of the transaction that begins the start
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		l.mu.Lock()
		meta := l.mem.meta.Begin(random, l.mem.rev+1, renew, shown)
		if shown.Start != 0 && meta.Expect == 0 && l.mem.known() == 0 {
			meta.Expect = rule.ExpectAny // it knows nothing of what the node has seen: it is anew
		}
		l.mu.Unlock()
		c.meta = &meta
		c.after = func(m *memory, now time.Time) {
			began = m.metaRev
			l.beginHold(m, now)
		}
		return c, nil
	})
	if err != nil {
		return err
	}
	if err := l.fixFirst(ctx, began); err != nil {
		return err
	}
	if err := l.renewEpochs(ctx); err != nil {
		return err
	}
	return l.endHold(ctx)
}

// fixFirst corrects the first revision of a start that was begun while others
// still wrote. No transaction of the former start comes after the one that
// began this: all compare the ledger's own record.
func (l *Ledger) fixFirst(ctx context.Context, began uint64) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		l.mu.Lock()
		meta := l.mem.meta
		l.mu.Unlock()
		last := len(meta.Starts) - 1
		if meta.Starts[last].First >= began {
			return nil, nil
		}
		meta.Starts = slices.Clone(meta.Starts)
		meta.Starts[last].First = began
		c.meta = &meta
		return c, nil
	})
}

// beginHold forgets what nodes said to the former start and holds until they
// speak to this one.
func (l *Ledger) beginHold(m *memory, now time.Time) {
	l.counter = 0
	grace := l.cfg.Lost
	if m.meta.Hold {
		grace *= 2
	}
	m.hold = hold{on: true, all: m.meta.Hold, start: m.meta.Start(), until: now.Add(grace)}
	m.queue, m.orders = newQueue(), nil
	clear(m.fetched)
	clear(m.quarantine)
	for _, n := range m.nodes {
		n.registered, n.listed, n.listing, n.unknown = false, false, nil, nil
		n.lostFor, n.badRoots = nil, nil
	}
}

// epochsAtOnce bounds the records that get a new epoch in one transaction.
const epochsAtOnce = 100

// renewEpochs gives everything that waits an epoch of the present start.
func (l *Ledger) renewEpochs(ctx context.Context) error {
	l.mu.Lock()
	var stale []renewal
	for _, id := range sortedKeys(l.mem.places) {
		e := l.mem.places[id]
		if e.rec.State == placement.Pending && e.rec.Epoch.Start() != l.mem.meta.Start() {
			stale = append(stale, renewal{id, l.epochLocked()})
		}
	}
	l.mu.Unlock()
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	for len(stale) > 0 {
		some := stale[:min(epochsAtOnce, len(stale))]
		stale = stale[len(some):]
		all.Go(func() error { return l.renewSome(ctx, some) })
	}
	return all.Wait()
}

// renewal is a placement that waits, and an epoch for it.
type renewal struct {
	id    placement.ID
	spare placement.Epoch
}

func (l *Ledger) renewSome(ctx context.Context, some []renewal) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		for _, r := range some {
			rec, rev, ok := l.find(r.id)
			if !ok || rec.Epoch.Start() == l.Mark().Start {
				continue
			}
			if rec, ok = rule.Renew(rec, l.epochAbove(rec, r.spare)); ok {
				c.put(rec, rev)
				c.by, c.why = "ledger", "a new start: it takes a new epoch"
				c.delay[r.id] = l.dice.UpTo(startJitter, string(r.id))
			}
		}
		if len(c.records) == 0 {
			return nil, nil
		}
		return c, nil
	})
}

// startJitter spreads what is due again after a start or a hold.
const startJitter = 2 * time.Second
