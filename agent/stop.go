package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// stopKey is what a stop order names.
type stopKey struct {
	id    placement.ID
	epoch placement.Epoch
}

// Stop carries out an order of the ledger to stop and remove exactly one copy.
// It returns when the order is taken, not when the copy is gone; an order that
// is being carried out, or whose copy is not there, is fine. An order of
// another cluster, an older generation or a ledger that the node has not
// registered with is refused.
func (a *Agent) Stop(_ context.Context, o placement.StopOrder) error {
	_, err := a.takeStop(o)
	return err
}

// StopNow is Stop, and returns when the copy is gone. An end of ctx does not
// take the order back.
func (a *Agent) StopNow(ctx context.Context, o placement.StopOrder) error {
	gone, err := a.takeStop(o)
	if err != nil {
		return err
	}
	if !closed(ctx, gone) {
		return fmt.Errorf("stop %s: it was ordered, and goes on: %w", o.ID, context.Cause(ctx))
	}
	return nil
}

// takeStop takes an order; gone is closed when it is carried out.
func (a *Agent) takeStop(o placement.StopOrder) (gone <-chan struct{}, err error) {
	if err := a.checkCluster(o.Cluster); err != nil {
		return nil, err
	}
	if _, err := placement.ParseID(string(o.ID)); err != nil {
		return nil, err
	}
	if err := a.hear(o.Mark); err != nil {
		return nil, err
	}
	key := stopKey{o.ID, o.Epoch}
	a.mu.Lock()
	done, twice := a.stops[key], a.stops[key] != nil
	if !twice {
		done = make(chan struct{})
		a.stops[key] = done
	}
	a.mu.Unlock()
	if twice {
		return done, nil
	}
	if !a.spawn(func(ctx context.Context) { a.stop(ctx, key, o.Why) }) {
		a.ordered(key)
		return nil, &placement.Error{Kind: placement.KindUnavailable, What: "the agent is stopping"}
	}
	return done, nil
}

// ordered forgets an order.
func (a *Agent) ordered(key stopKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.stops[key])
	delete(a.stops, key)
}

// stop ends whatever works on the copy, then the copy.
func (a *Agent) stop(ctx context.Context, key stopKey, why string) {
	defer a.ordered(key)
	for {
		a.mu.Lock()
		t, other := a.begin(key.id, key.epoch, removing), a.tasks[key.id]
		if t == nil && other.epoch == key.epoch {
			other.end(placement.Reason{Code: placement.ReasonBind, Text: "ordered to stop: " + why})
		}
		a.mu.Unlock()
		if h, found := a.holds(key.id); t != nil && found && h.Epoch != key.epoch {
			a.finish(t)
			return // a daemon never holds two of a placement
		}
		if t != nil {
			a.Logger.Info("stopping on order", "placement", key.id, "epoch", key.epoch, "why", why)
			a.removeUntilGone(ctx, t, a.cfg.StopGrace)
			return
		}
		if other.epoch != key.epoch {
			return // another epoch is at work here, so this one is not there
		}
		if !closed(ctx, other.done) {
			return
		}
	}
}

// removeUntilGone removes the task's copy, trying again until it is proven
// gone, and finishes the task. Not gone: ctx ended, or, without grace, it turned
// out to run.
func (a *Agent) removeUntilGone(ctx context.Context, t *task, grace time.Duration) (at placement.SessionOp, gone bool) {
	defer a.finish(t)
	for failures := 1; ; failures++ {
		err := a.remove(ctx, t.id, t.epoch, grace)
		if err == nil {
			return a.ops.now(), true
		}
		if errors.Is(err, dockerd.ErrRunning) {
			a.Logger.Info("a copy taken for never started runs", "placement", t.id, "epoch", t.epoch)
			a.markDirty()
			return placement.SessionOp{}, false
		}
		if failures == 1 && ctx.Err() == nil {
			a.Logger.Warn("cannot remove a copy yet", "placement", t.id, "epoch", t.epoch, "err", err)
		}
		if !wait(ctx, Backoff(failures, a.dice.Unit("remove "+string(t.id)))) {
			return placement.SessionOp{}, false
		}
	}
}

// remove withdraws the copy's ports, removes it, counts that, and gives back
// what it held. After an error nothing is given back. Twice is as once.
func (a *Agent) remove(ctx context.Context, id placement.ID, e placement.Epoch, grace time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, grace+a.cfg.Docker)
	defer stop()
	h, found := a.holds(id)
	if found && h.Epoch != e {
		return nil // a daemon never holds two of a placement
	}
	if !found || h.published() {
		if err := a.Ports.Withdraw(ctx, id); err != nil {
			return err
		}
	}
	if err := a.Runtime.Remove(ctx, id.Owner(), id, e, grace); err != nil {
		return err
	}
	a.stepped(ctx)
	a.drop(id, e)
	return nil
}

// drop gives back what a copy held that is proven gone.
func (a *Agent) drop(id placement.ID, e placement.Epoch) {
	a.mu.Lock()
	digest := a.book.drop(id, e)
	a.mu.Unlock()
	if digest != "" {
		a.requests.leave(digest)
	}
}

func (a *Agent) checkCluster(cluster string) error {
	served := a.Cluster()
	if served == "" || served == cluster {
		return nil
	}
	return otherCluster(served, cluster, a.pin.path("cluster"))
}

// firstLine is an error as the text of a reason: one line.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
