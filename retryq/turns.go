package retryq

import (
	"context"
	"strings"
	"time"

	"longshore/retryq/rule"
)

// inTurn makes a committed change true in memory, after all those with lower
// revisions, so that memory is at every moment what the store was at one
// revision. It returns when that has happened.
func (l *Ledger) inTurn(c *change, rev uint64) {
	l.mu.Lock()
	l.turns[rev] = c
	l.applyTurns()
	l.mu.Unlock()
	if l.caughtUp(rev, foreign) {
		return
	}
	l.log.Error("the ledger's store is written by somebody else", "revision", rev)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mem.rev = max(l.mem.rev, rev-1)
	l.applyTurns()
}

// foreign is how long a missing revision is waited for. All revisions are this
// ledger's own; only another writer makes one that never comes.
const foreign = 5 * time.Second

// applyTurns applies the changes whose turn it is. The lock is held.
func (l *Ledger) applyTurns() {
	for {
		next := l.mem.rev + 1
		c, ok := l.turns[next]
		if !ok {
			break
		}
		delete(l.turns, next)
		l.apply(c, next)
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

// caughtUp waits until memory has reached a revision; false if it took longer
// than so long.
func (l *Ledger) caughtUp(rev uint64, most time.Duration) bool {
	l.mu.Lock()
	there, moved := l.mem.rev >= rev, l.moved
	l.mu.Unlock()
	if there {
		return true
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		select {
		case <-moved:
		case <-timer.C:
			return false
		}
		l.mu.Lock()
		there, moved = l.mem.rev >= rev, l.moved
		l.mu.Unlock()
		if there {
			return true
		}
	}
}

// catchUp waits until memory has what a conflict was about.
func (l *Ledger) catchUp(ctx context.Context) error {
	rev, err := l.store.Revision(ctx)
	if err != nil {
		return unavailable(err)
	}
	l.caughtUp(rev, foreign)
	return ctx.Err()
}

// loadItem puts one item of the store into memory, before anyone else does.
func (l *Ledger) loadItem(item Item) error {
	c := blankChange()
	var err error
	switch {
	case strings.HasPrefix(item.Key, placementsPrefix):
		var rec rule.Record
		rec, err = decode(item, func(r rule.Record) int { return r.V })
		c.records = append(c.records, rec)
	case strings.HasPrefix(item.Key, replicasPrefix):
		var rec rule.Replica
		rec, err = decode(item, func(r rule.Replica) int { return r.V })
		c.replicas = append(c.replicas, rec)
	case strings.HasPrefix(item.Key, appsPrefix):
		var rec rule.App
		rec, err = decode(item, func(r rule.App) int { return r.V })
		c.app = &rec
	case strings.HasPrefix(item.Key, nodesPrefix):
		var rec rule.Node
		rec, err = decode(item, func(r rule.Node) int { return r.V })
		c.nodes = append(c.nodes, rec)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apply(c, item.Rev)
	return nil
}
