package retryq

import (
	"context"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// stepOps is the most that one step of a rollout adds to a transaction: the
// old life's record and tombstone, the new one, the replica, the HA slot.
const stepOps = 6

// carryOut adds steps to a transaction as long as they fit, and tells whether
// all did. None does while the ledger does not know yet what its nodes run.
func (l *Ledger) carryOut(ctx context.Context, c *change, app rule.App, sums []string, steps []rule.Step) (bool, error) {
	if l.restoring() {
		return false, nil
	}
	for _, step := range steps {
		if c.ops()+stepOps > MaxOps {
			return false, nil
		}
		if err := l.step(ctx, c, app, sums, step); err != nil {
			return false, err
		}
	}
	return true, nil
}

// step does one thing for one replica.
func (l *Ledger) step(ctx context.Context, c *change, app rule.App, sums []string, step rule.Step) error {
	l.mu.Lock()
	replica, replicaRev := rule.Replica{V: placement.Format, Replica: step.Replica}, uint64(0)
	if r := l.mem.replicas[step.Replica]; r != nil {
		replica, replicaRev = r.rec, r.rev
	}
	wanted := l.mem.wanted(l.mem.replicas[step.Replica])
	var old known
	if wanted != nil {
		old = known{wanted.rec, wanted.rev}
	}
	life := placement.Life(l.epochLocked())
	epoch := l.epochLocked()
	l.mu.Unlock()

	if step.Cancel && wanted != nil {
		var err error
		if replica, err = l.cancelIn(ctx, c, replica, old, step.Why); err != nil {
			return err
		}
	}
	if step.Lift || step.Ended != nil {
		replica.Ended = step.Ended
	}
	if step.Begin {
		service := app.Wish.Services[step.Service]
		replica = replica.With(life)
		c.put(rule.Record{
			V: placement.Format, ID: step.Replica.Placement(life), State: placement.Pending, Epoch: epoch,
			Request: service.Request, Digest: sums[step.Service],
			Within: service.Deadline, Left: service.Deadline, Gates: step.Gates,
		}, 0)
	}
	c.putReplica(replica, replicaRev)
	return nil
}

// isAway tells of each node whether what it holds of the placement counts as
// gone.
func (l *Ledger) isAway(rec rule.Record) func(placement.NodeID) bool {
	return func(node placement.NodeID) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.mem.hold.on && l.mem.away(node, rec, l.cfg.Lost)
	}
}

// rollouts carries apps towards their wishes, whenever one changed, until ctx
// ends.
func (l *Ledger) rollouts(ctx context.Context) error {
	for {
		for _, key := range l.takeRolls() {
			if err := l.rollOut(ctx, key); err != nil && ctx.Err() == nil {
				l.log.Error("rollout failed, will be tried again", "app", key, "err", err)
				l.rollLater(key)
			}
		}
		select {
		case <-l.rollWake:
		case <-ctx.Done():
			return nil
		}
	}
}

// takeRolls empties the set of apps to roll out.
func (l *Ledger) takeRolls() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := sortedKeys(l.mem.rolls)
	clear(l.mem.rolls)
	return keys
}

// rollLater marks the app for the next tick, without waking anyone now.
func (l *Ledger) rollLater(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mem.rolls[key] = true
}

// rollOut does what can be done for one app now, a transaction after the
// other. Each compares the app's record, so that no step of an old wish comes
// after a new one.
func (l *Ledger) rollOut(ctx context.Context, key string) error {
	for {
		more, err := l.rollSome(ctx, key)
		if err != nil || !more {
			return err
		}
	}
}

func (l *Ledger) rollSome(ctx context.Context, key string) (more bool, err error) {
	err = l.change(ctx, func() (*change, error) {
		more = false
		c := l.newChange()
		l.mu.Lock()
		a := l.mem.apps[key]
		if a == nil || a.rev == 0 || a.settled || l.mem.hold.all {
			l.mu.Unlock()
			return nil, nil
		}
		app, rev, sums, have := a.rec, a.rev, a.digests, l.mem.standings(a)
		c.trace = a.trace
		l.mu.Unlock()
		steps, done := rule.Rollout(app, sums, have)
		if len(steps) == 0 {
			if done {
				l.settle(key, rev)
			}
			return nil, nil
		}
		c.expect[key] = rev
		all, err := l.carryOut(ctx, c, app, sums, steps)
		more = !all
		return c, err
	})
	return more, err
}

// settle remembers that nothing is left to do for the app's present wish.
func (l *Ledger) settle(key string, rev uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.mem.apps[key]; a != nil && a.rev == rev && !l.mem.rolls[key] {
		a.settled, a.trace = true, ""
	}
}

// hurry makes a waiting placement due now.
func (l *Ledger) hurry(id placement.ID) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.mem.places[id]; e != nil {
		if w := l.mem.queue.items[id]; w != nil && w.place == lined {
			e.tries = 0
			l.enqueue(e, now)
		}
	}
	l.wake()
}
