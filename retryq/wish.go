package retryq

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// wishesAtOnce bounds the transactions of one wish over many replicas that run
// together, so that they share the store's writes.
const wishesAtOnce = 64

// Stop makes the replicas that the filter chooses DONE, "stopped by" by: their
// copies are stopped, and nothing but Start, Retry or a changed request of
// their service starts them again. One that ended by itself stays as it is. It
// returns those chosen; stopping twice is no error. NotFound if there is none.
func (l *Ledger) Stop(ctx context.Context, f placement.Filter, by string) ([]placement.Replica, error) {
	ids, err := l.choose(f)
	if err != nil {
		return nil, err
	}
	ctx = placement.ActAs(ctx, by)
	return l.wishAll(ctx, ids, func(ctx context.Context, id placement.ID) error {
		_, _, err := l.stop(ctx, id, by, nobodys)
		return ignoreGone(err)
	})
}

// Start lets the chosen replicas that are DONE or DEAD wait for a node again, a
// DONE one for the node where it was, and brings destroyed ones back. Others
// stay as they are. It returns those chosen. NotFound if there is none.
func (l *Ledger) Start(ctx context.Context, f placement.Filter) ([]placement.Replica, error) {
	return l.bringBack(ctx, f, rule.Start)
}

// Retry puts the chosen replicas that are DEAD, stopped or destroyed back into
// the queue, for any node, and makes those that wait due now. It returns those
// chosen but for what runs or has ended by itself. NotFound if there is none.
func (l *Ledger) Retry(ctx context.Context, f placement.Filter) ([]placement.Replica, error) {
	return l.bringBack(ctx, f, rule.Retry)
}

// Destroy cancels the chosen replicas, and keeps the rollout of their app from
// beginning new lives of them as long as it wishes the same request. It returns
// those chosen; twice is no error. NotFound if the app wishes none of them.
func (l *Ledger) Destroy(ctx context.Context, f placement.Filter, by string) ([]placement.Replica, error) {
	names := l.wished(f)
	if len(names) == 0 {
		return nil, errNothingFits
	}
	all, ctx := errgroup.WithContext(placement.ActAs(ctx, by))
	all.SetLimit(wishesAtOnce)
	for _, name := range names {
		all.Go(func() error {
			_, err := l.destroy(ctx, name, by, nobodys)
			return ignoreGone(err)
		})
	}
	return names, all.Wait()
}

var errNothingFits = &placement.Error{Kind: placement.KindNotFound, What: "there is no such replica", Why: "no replica fits", Next: "schedctl ps lists them"}

// ignoreGone drops the word that something is not there any more: that of many
// replicas one goes meanwhile is no failure.
func ignoreGone(err error) error {
	if e, ok := errors.AsType[*placement.Error](err); ok && e.Kind == placement.KindNotFound {
		return nil
	}
	return err
}

// choose lists the wanted lives that the filter chooses, by replica.
func (l *Ledger) choose(f placement.Filter) ([]placement.ID, error) {
	f.All = false
	l.mu.Lock()
	list := l.statuses(f)
	l.mu.Unlock()
	sortStatuses(list)
	ids := make([]placement.ID, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	if len(ids) == 0 {
		return nil, errNothingFits
	}
	return ids, nil
}

func (l *Ledger) wishAll(ctx context.Context, ids []placement.ID, one func(context.Context, placement.ID) error) ([]placement.Replica, error) {
	names := make([]placement.Replica, len(ids))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(wishesAtOnce)
	for i, id := range ids {
		names[i] = id.Replica()
		all.Go(func() error { return one(ctx, id) })
	}
	return names, all.Wait()
}

// mayWish says why somebody may not wish this of a placement; nil: they may.
type mayWish func(rule.Record) error

func nobodys(rule.Record) error { return nil }

// stop carries out one stop. It returns the record after it.
func (l *Ledger) stop(ctx context.Context, id placement.ID, by string, may mayWish) (rec rule.Record, changed bool, err error) {
	err = l.change(ctx, func() (*change, error) {
		changed = false
		c := l.newChange()
		old, rev, ok := l.find(id)
		if rec = old; !ok {
			return nil, errNothingFits
		}
		if err := may(old); err != nil {
			return nil, err
		}
		slot, err := l.slot(ctx, c, old.Slot)
		if err != nil {
			return nil, err
		}
		rec, slot, changed = rule.Stop(old, slot, by, l.isAway(old))
		if !changed {
			return nil, nil
		}
		c.put(rec, rev)
		c.setSlot(old.Slot, slot, token(old))
		return c, nil
	})
	return rec, changed, err
}

// startRule is [rule.Start] or [rule.Retry].
type startRule func(r rule.Record, next placement.Epoch) (rule.Record, bool)

// start carries out one start, with an epoch drawn before or "" (see
// [Ledger.epochAbove]). It returns the record after it.
func (l *Ledger) start(ctx context.Context, id placement.ID, spare placement.Epoch, apply startRule, may mayWish) (rec rule.Record, changed bool, err error) {
	err = l.change(ctx, func() (*change, error) {
		changed = false
		c := l.newChange()
		old, rev, ok := l.find(id)
		if rec = old; !ok {
			return nil, errNothingFits
		}
		if err := may(old); err != nil {
			return nil, err
		}
		if rec, changed = apply(old, l.epochAbove(old, spare)); !changed {
			return nil, nil
		}
		c.put(rec, rev)
		return c, nil
	})
	return rec, changed, err
}

// bringBack is Start and Retry: they differ in the rule.
func (l *Ledger) bringBack(ctx context.Context, f placement.Filter, apply startRule) ([]placement.Replica, error) {
	var names []placement.Replica
	for _, name := range l.wished(f) {
		revived, err := l.revive(ctx, name)
		if err != nil {
			return names, err
		}
		if revived {
			names = append(names, name)
		}
	}
	ids, err := l.choose(f)
	if err != nil && len(names) == 0 {
		return nil, err
	}
	back := make([]bool, len(ids))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(wishesAtOnce)
	for i, id := range ids {
		spare := l.epoch()
		all.Go(func() error {
			rec, _, err := l.start(ctx, id, spare, apply, nobodys)
			if back[i] = err == nil && (rec.State == placement.Pending || rec.Again); back[i] {
				l.hurry(id)
			}
			return ignoreGone(err)
		})
	}
	err = all.Wait()
	for i, id := range ids {
		if back[i] {
			names = append(names, id.Replica())
		}
	}
	slices.SortFunc(names, byNumber)
	return slices.Compact(names), err
}

// wished lists the replicas of the filter that an app wishes, whether they have
// a life or not. A filter by node chooses those whose wanted life is there.
func (l *Ledger) wished(f placement.Filter) []placement.Replica {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []placement.Replica
	for _, key := range sortedKeys(l.mem.apps) {
		a := l.mem.apps[key]
		if a.rec.Removed || f.Owner != "" && f.Owner != a.rec.Owner || f.App != "" && f.App != a.rec.Name {
			continue
		}
		for _, s := range a.rec.Wish.Services {
			for n := range s.Replicas {
				name := placement.NewReplica(a.rec.Owner, a.rec.Name, s.Name, n+1)
				status := placement.Status{Replica: name}
				if e := l.mem.wanted(l.mem.replicas[name]); e != nil && e.rec.Bound != nil {
					status.Node = e.rec.Bound.Node
				}
				if matches(f, status) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// destroy ends one replica that its app wishes. changed: it was not destroyed.
func (l *Ledger) destroy(ctx context.Context, name placement.Replica, by string, may mayWish) (changed bool, err error) {
	return l.stepOne(ctx, name, may, func(s rule.Standing, _ int, digest string) (rule.Step, bool) {
		return rule.Destroy(s, by, digest)
	})
}

// revive begins a new life of a destroyed replica that its app wishes.
func (l *Ledger) revive(ctx context.Context, name placement.Replica) (changed bool, err error) {
	return l.stepOne(ctx, name, nobodys, rule.Revive)
}

// stepOne takes one step of a rollout that somebody wishes, outside of it. The
// app's record is compared, so that it is of the app's present wish.
func (l *Ledger) stepOne(ctx context.Context, name placement.Replica, may mayWish, decide func(s rule.Standing, i int, digest string) (rule.Step, bool)) (changed bool, err error) {
	err = l.change(ctx, func() (*change, error) {
		changed = false
		c := l.newChange()
		if err := l.notYet(); err != nil {
			return nil, err
		}
		l.mu.Lock()
		a := l.mem.apps[appKey(name.Owner(), name.App())]
		if a == nil {
			l.mu.Unlock()
			return nil, errNothingFits
		}
		app, rev, sums, have := a.rec, a.rev, a.digests, l.mem.standing(name)
		l.mu.Unlock()
		i, wished := app.Serves(name)
		if !wished {
			return nil, errNothingFits
		}
		if have.Wanted != nil {
			if err := may(*have.Wanted); err != nil {
				return nil, err
			}
		}
		var step rule.Step
		if step, changed = decide(have, i, sums[i]); !changed {
			return nil, nil
		}
		c.expect[appKey(app.Owner, app.Name)] = rev
		return c, l.step(ctx, c, app, sums, step)
	})
	return changed, err
}

// standing is one replica as a rollout compares it.
func (m *memory) standing(name placement.Replica) rule.Standing {
	s := rule.Standing{Replica: rule.Replica{V: placement.Format, Replica: name}}
	if r := m.replicas[name]; r != nil {
		s.Replica = r.rec
		if e := m.wanted(r); e != nil {
			rec := e.rec
			s.Wanted = &rec
		}
	}
	return s
}

// home is the node for which a started placement waits: not for ever, should
// that be lost, given up or drained. The lock is held.
func (l *Ledger) home(e *entry) placement.NodeID {
	home := e.rec.Home
	if home == "" || e.rec.State != placement.Pending {
		return ""
	}
	n := l.mem.nodes[home]
	if n == nil || n.rec.Draining || l.mem.away(home, e.rec, l.cfg.Lost) {
		return ""
	}
	return home
}

// noReplica says that there is no such replica, or who destroyed it.
func (m *memory) noReplica(name placement.Replica) error {
	if r := m.replicas[name]; r != nil && r.rec.Ended != nil {
		return &placement.Error{
			Kind: placement.KindNotFound, What: fmt.Sprintf("replica %s was destroyed", name), Why: "by " + r.rec.Ended.By,
			Next: "schedctl start brings it back; so does a submit that changes its service",
		}
	}
	return &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("there is no replica %s", name), Next: "schedctl ps lists them"}
}
