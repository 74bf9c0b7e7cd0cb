package retryq

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

const (
	takeInsTogether = 64
	// takeInLives bounds the lives of one replica that are taken in: two are
	// usual. It keeps the transaction within [MaxOps].
	takeInLives = 32
)

// takeIn makes records of what nodes show and the ledger does not know, as far
// as its request is at hand, and makes the apps' wishes agree with it. It is
// for the end of a hold of all: nothing is rolled out meanwhile. Repeating it
// does only what is not done yet.
func (l *Ledger) takeIn(ctx context.Context) error {
	l.mu.Lock()
	found, taken := l.foundByReplica()
	l.mu.Unlock()
	all, limited := errgroup.WithContext(ctx)
	all.SetLimit(takeInsTogether)
	for _, name := range sortedKeys(found) {
		for i := range found[name] {
			found[name][i].Next = l.epoch() // here, so that their order is not the scheduler's
		}
		all.Go(func() error { return l.takeInReplica(limited, name, found[name]) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	l.mu.Lock()
	apps, left := sortedKeys(l.mem.apps), len(l.mem.quarantine)
	l.mu.Unlock()
	for _, key := range apps {
		if err := l.rewish(ctx, key); err != nil {
			return err
		}
	}
	if taken+left > 0 {
		l.log.Warn("took in what nodes run and the ledger did not know", "placements", taken, "left in quarantine", left)
	}
	return nil
}

// foundByReplica is what can be taken in, and how many placements that is. What
// cannot be is put into quarantine, with the reason. The lock is held.
func (l *Ledger) foundByReplica() (byReplica map[placement.Replica][]rule.Found, n int) {
	m := &l.mem
	best := make(map[placement.ID]unknownCopy)
	for _, c := range m.unknownCopies() {
		if old, there := best[c.ID]; !there || better(c, old) {
			best[c.ID] = c
		}
	}
	byReplica = make(map[placement.Replica][]rule.Found)
	clear(m.quarantine)
	for _, id := range sortedKeys(best) {
		c := best[id]
		f := m.fetched[c.Digest]
		why := l.strange(c)
		if why == "" && (f == nil || f.request == nil) {
			why = f.why()
		}
		if why == "" && len(byReplica[id.Replica()]) >= takeInLives {
			why = fmt.Sprintf("more than %d lives of its replica are there", takeInLives)
		}
		if why != "" {
			m.quarantine[id] = why
			continue
		}
		byReplica[id.Replica()] = append(byReplica[id.Replica()], rule.Found{ID: id, Request: *f.request, Digest: c.Digest, Copy: c.Copy, Holder: c.holder})
		n++
	}
	return byReplica, n
}

// better tells whether a is the copy to go by: one that runs, of the higher
// epoch.
func better(a, b unknownCopy) bool {
	if x, y := a.State == placement.CopyRunning, b.State == placement.CopyRunning; x != y {
		return x
	}
	return a.Epoch > b.Epoch
}

// strange says why a copy cannot be of a placement that a ledger of this
// cluster ever made; "" if it can. A ledger that goes on is above all that its
// nodes have seen.
func (l *Ledger) strange(c unknownCopy) string {
	if _, err := placement.ParseID(string(c.ID)); err != nil {
		return "its name is no placement's"
	}
	start := l.mem.meta.Start()
	switch n := c.ID.Replica().Number(); {
	case n > maxReplicas:
		return fmt.Sprintf("its number is above %d", maxReplicas)
	case !c.Epoch.Valid() || c.Epoch.Start() >= start || placement.Epoch(c.ID.Life()).Start() >= start:
		return "its life or epoch is above what this ledger ever gave"
	}
	return ""
}

// takeInReplica makes the records of one replica's found lives.
func (l *Ledger) takeInReplica(ctx context.Context, name placement.Replica, found []rule.Found) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		replica, rev, wanted, fresh := l.unknownOf(name, found)
		if len(fresh) == 0 {
			return nil, nil
		}
		next, records, replaced := rule.TakeIn(replica, fresh)
		if replaced != "" && wanted != nil {
			var err error
			if next, err = l.cancelIn(ctx, c, next, *wanted, "a newer life took its place"); err != nil {
				return nil, err
			}
		}
		for _, r := range records {
			c.put(r, 0)
		}
		c.putReplica(next, rev)
		c.why = "taken in from a node's request file"
		return c, nil
	})
}

// known is a record with its revision.
type known struct {
	rec rule.Record
	rev uint64
}

// unknownOf returns a replica as it is, its wanted life if it has one, and
// which of the found lives it does not have yet, each with a new epoch.
func (l *Ledger) unknownOf(name placement.Replica, found []rule.Found) (replica rule.Replica, rev uint64, wanted *known, fresh []rule.Found) {
	l.mu.Lock()
	defer l.mu.Unlock()
	replica = rule.Replica{V: placement.Format, Replica: name}
	if r := l.mem.replicas[name]; r != nil {
		replica, rev = r.rec, r.rev
		if e := l.mem.wanted(r); e != nil {
			wanted = &known{e.rec, e.rev}
		}
	}
	for _, f := range found {
		if l.mem.places[f.ID] == nil {
			if f.Next.Start() != l.mem.meta.Start() {
				f.Next = l.epochLocked()
			}
			fresh = append(fresh, f)
		}
	}
	return replica, rev, wanted, fresh
}

// cancelIn cancels a life of a replica in a transaction. Of one that nothing
// can have a copy of only the tombstone is left.
func (l *Ledger) cancelIn(ctx context.Context, c *change, replica rule.Replica, old known, why string) (rule.Replica, error) {
	slot, err := l.slot(ctx, c, old.rec.Slot)
	if err != nil {
		return replica, err
	}
	rec, slot, outcome := rule.Cancel(old.rec, slot, why, l.isAway(old.rec))
	c.setSlot(old.rec.Slot, slot, token(old.rec))
	if outcome == rule.Gone {
		c.bury(rec, old.rev)
		return replica.Without(rec.ID.Life()), nil
	}
	c.put(rec, old.rev)
	if replica.Wanted == rec.ID.Life() {
		replica.Wanted = ""
	}
	return replica, nil
}

// rewish makes one app's wish agree with its replicas, unless it was made since
// the ledger was lost or put back.
func (l *Ledger) rewish(ctx context.Context, key string) error {
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		l.mu.Lock()
		a := l.mem.apps[key]
		app, rev, have, newer := a.rec, a.rev, l.mem.standings(a), l.mem.meta.AfterFork(a.rec.Since)
		l.mu.Unlock()
		if newer {
			return nil, nil
		}
		app, changed := rule.Rewish(app, have)
		if !changed {
			return nil, nil
		}
		c.app = &app
		c.expect[key] = rev
		return c, nil
	})
}

// whyUnknown says why a copy of an unknown placement is in quarantine. The lock
// is held.
func (l *Ledger) whyUnknown(id placement.ID) string {
	switch why := l.mem.quarantine[id]; {
	case why != "":
		return why
	case l.mem.hold.on && l.mem.hold.all:
		return "it is taken in when the ledger holds no longer"
	}
	return "the ledger does not know it; broadcasterd --new-generation takes in what it does not know"
}
