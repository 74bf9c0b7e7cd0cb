package agent

import (
	"context"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// expose publishes the ports of a placement that has a reservation, if it has
// any. Twice is as once.
func (a *Agent) expose(ctx context.Context, h Hold) error {
	if !h.published() {
		return nil
	}
	if err := a.portPen.take(ctx); err != nil {
		return err
	}
	defer a.portPen.put()
	return a.Ports.Expose(ctx, h.ID, h.ports())
}

// tidy clears up after an earlier run, once after the start and as soon as every
// daemon could be listed: requests that no copy uses are removed, ports of
// running copies published anew, and those of placements that are not there
// taken back.
func (a *Agent) tidy(l dockerd.Listing) {
	for _, d := range l.Daemons {
		if !d.OK {
			return
		}
	}
	a.mu.Lock()
	first := !a.tidied
	a.tidied = true
	a.mu.Unlock()
	if !first {
		return
	}
	a.spawn(func(ctx context.Context) {
		if err := a.requests.sweep(); err != nil {
			a.Logger.Warn("cannot remove requests that nobody uses", "err", err)
		}
		a.tidyLate(ctx)
		for _, h := range a.keepPorts(ctx) {
			if err := a.exposeAgain(ctx, h); err != nil && ctx.Err() == nil {
				a.Logger.Warn("cannot publish ports again", "placement", h.ID, "err", err)
			}
		}
	})
}

// exposeAgain publishes the ports of a copy that runs, once its daemon is
// known: right after the start of the agent it is not yet.
func (a *Agent) exposeAgain(ctx context.Context, h Hold) error {
	if !h.published() {
		return nil
	}
	call, stop := context.WithTimeout(ctx, a.cfg.Docker)
	defer stop()
	if err := a.Runtime.Ensure(call, h.ID.Owner()); err != nil {
		return err
	}
	return a.expose(ctx, h)
}

// tidyLate forgets the ports that were added to copies that are gone.
func (a *Agent) tidyLate(ctx context.Context) {
	if err := a.late.pen.take(ctx); err != nil {
		return
	}
	defer a.late.pen.put()
	if err := a.late.save(a.isHere); err != nil {
		a.Logger.Warn("cannot store the ports that were added", "err", err)
	}
}

// keepPorts takes back the ports that nobody has a right to, and tells which
// copies run. The pen keeps out a placement that is reserved and exposed while
// the list is acted upon.
func (a *Agent) keepPorts(ctx context.Context) (running []Hold) {
	if err := a.portPen.take(ctx); err != nil {
		return nil
	}
	defer a.portPen.put()
	var keep []placement.ID
	a.mu.Lock()
	for _, h := range a.book.holds {
		keep = append(keep, h.ID)
		if a.book.copies[h.ID].state == placement.CopyRunning {
			running = append(running, h)
		}
	}
	a.mu.Unlock()
	if err := a.Ports.Keep(ctx, keep); err != nil && ctx.Err() == nil {
		a.Logger.Warn("cannot take back ports that nobody uses", "err", err)
	}
	return running
}
