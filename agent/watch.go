package agent

import (
	"context"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// listGap is the least time between two listings: a burst of events is one.
const listGap = 20 * time.Millisecond

// saw takes in an event. An event is a hint, never the truth: it says when to
// list. What the agent's own hands did it knows already.
func (a *Agent) saw(e dockerd.Event) {
	if e.Resync {
		a.markDirty()
		return
	}
	ended := e.Copy.State == placement.CopyExited || e.Copy.State == placement.CopyGone
	a.mu.Lock()
	c := a.book.copies[e.Copy.ID]
	known := c != nil && c.epoch == e.Copy.Epoch
	news := !known || ended || c.state != e.Copy.State
	if t := a.tasks[e.Copy.ID]; t != nil && t.kind == placing {
		t.again, news = t.again || ended, false // it lists when it is through
	}
	a.mu.Unlock()
	if news {
		a.markDirty()
	}
	if ended && known {
		a.spawn(func(ctx context.Context) { a.lookAgain(ctx, e.Copy.ID, e.Copy.Epoch) })
	}
}

// lookAgain lists later too, as long as a copy still seems to run of which an
// event said that it ended: Docker says so for some milliseconds.
func (a *Agent) lookAgain(ctx context.Context, id placement.ID, e placement.Epoch) {
	for _, after := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond} {
		if !wait(ctx, after) {
			return
		}
		if c, ok := a.entry(id, e); !ok || c.state != placement.CopyRunning {
			return
		}
		a.markDirty()
	}
}

// entry is a copy of what the book knows of that epoch.
func (a *Agent) entry(id placement.ID, e placement.Epoch) (entry, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.book.copies[id]
	if c == nil || c.epoch != e {
		return entry{}, false
	}
	return *c, true
}

// fresh returns when a listing that began after the call is in the book.
func (a *Agent) fresh(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case a.lists <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !closed(ctx, done) {
		return ctx.Err()
	}
	return nil
}

// keepListed lists whenever the book may be out of date, when asked to, and
// every now and then, until ctx ends.
func (a *Agent) keepListed(ctx context.Context) {
	var waiting []chan struct{}
	failures := 0
	period := time.NewTimer(a.listPeriod())
	defer period.Stop()
	for {
		if len(waiting) == 0 {
			select {
			case w := <-a.lists:
				waiting = append(waiting, w)
			case <-a.dirty:
			case <-period.C:
				period.Reset(a.listPeriod())
			case <-ctx.Done():
				return
			}
		}
		waiting = a.gather(waiting)
		if err := a.list(ctx); err != nil {
			failures++
			if failures == 1 && ctx.Err() == nil {
				a.Logger.Warn("cannot list the copies", "err", err)
			}
			a.markDirty()
			if !wait(ctx, Backoff(failures, a.dice.Unit("list"))) {
				return
			}
			continue
		}
		failures = 0
		for _, w := range waiting {
			close(w)
		}
		waiting = nil
		if !wait(ctx, listGap) {
			return
		}
	}
}

func (a *Agent) listPeriod() time.Duration {
	return time.Duration(float64(a.cfg.ListEvery) * (0.9 + 0.2*a.dice.Unit("list period")))
}

// gather adds whoever else waits for a listing that has not begun.
func (a *Agent) gather(waiting []chan struct{}) []chan struct{} {
	for {
		select {
		case w := <-a.lists:
			waiting = append(waiting, w)
		case <-a.dirty:
		default:
			return waiting
		}
	}
}

// list brings the book up to date and sees to what it finds.
func (a *Agent) list(ctx context.Context) error {
	call, stop := context.WithTimeout(ctx, a.cfg.Docker)
	defer stop()
	a.mu.Lock()
	began := a.book.tick()
	a.mu.Unlock()
	l, err := a.Eyes.List(call)
	if err != nil {
		return err
	}
	a.mu.Lock()
	unknown := a.book.unknown(l)
	a.mu.Unlock()
	copies := make([]found, len(unknown))
	for i, c := range unknown {
		req, ok := a.requests.load(ctx, c.Digest)
		copies[i] = found{Copy: c, request: req, kept: ok, late: a.late.of(c.ID, c.Epoch)}
	}

	a.mu.Lock()
	n := a.book.apply(l, began, copies)
	for i, g := range n.gone {
		t := a.tasks[g.id]
		n.gone[i].own = t != nil && t.kind != resuming
	}
	stale := false
	for _, id := range n.ids {
		if t := a.tasks[id]; t != nil && t.kind == placing {
			t.again = true
		} else {
			stale = true
		}
	}
	a.mu.Unlock()
	if stale {
		a.markDirty()
	}
	for _, digest := range n.digest {
		a.requests.leave(digest)
	}
	a.settle(n.gone)
	a.tidy(l)
	a.employOrphans()
	return nil
}

// settle gives back what copies held that vanished without the agent's doing.
func (a *Agent) settle(all []gone) {
	for _, g := range all {
		if g.digest != "" {
			a.requests.leave(g.digest)
		}
		if g.own {
			continue
		}
		a.Logger.Info("copy is gone", "placement", g.id, "owner", g.id.Owner())
		if !g.ports {
			continue
		}
		a.spawn(func(ctx context.Context) {
			if _, there := a.holds(g.id); there {
				return // a new copy's ports go by the same name
			}
			if err := a.Ports.Withdraw(ctx, g.id); err != nil && ctx.Err() == nil {
				a.Logger.Warn("cannot withdraw ports", "placement", g.id, "err", err)
			}
		})
	}
}

// holds is a copy of what the placement keeps from others, whatever its epoch.
func (a *Agent) holds(id placement.ID) (Hold, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, found := a.book.find(id)
	if !found {
		return Hold{}, false
	}
	return a.book.holds[i], true
}

// orphans begins a removal for each copy that was created and that nobody
// works on; with all, also for those whose start was not answered.
func (a *Agent) orphans(all bool) []*task {
	a.mu.Lock()
	defer a.mu.Unlock()
	var tasks []*task
	for _, h := range a.book.holds {
		if e := a.book.copies[h.ID]; e.state == placement.CopyCreated && (all || !e.maybe) {
			if t := a.begin(h.ID, h.Epoch, removing); t != nil {
				tasks = append(tasks, t)
			}
		}
	}
	return tasks
}

// employOrphans sees to the copies that nobody works on: it asks about those
// that ended or may have started, and removes those that never did.
func (a *Agent) employOrphans() {
	a.mu.Lock()
	registered := a.reg.session != 0
	var ask []*task
	for _, h := range a.book.holds {
		e := a.book.copies[h.ID]
		if registered && (e.state == placement.CopyExited && !e.done || e.state == placement.CopyCreated && e.maybe) {
			if t := a.begin(h.ID, h.Epoch, resuming); t != nil {
				ask = append(ask, t)
			}
		}
	}
	a.mu.Unlock()
	for _, t := range ask {
		if !a.spawn(func(ctx context.Context) { a.resume(ctx, t) }) {
			a.finish(t)
		}
	}
	if !registered {
		return
	}
	for _, t := range a.orphans(false) {
		if !a.spawn(func(ctx context.Context) { a.removeUntilGone(ctx, t, 0) }) {
			a.finish(t)
		}
	}
}
