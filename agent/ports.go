package agent

import (
	"context"
	"slices"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// published tells whether the request has a port on the node's address.
func published(r placement.Request) bool {
	return slices.ContainsFunc(r.Ports, func(p placement.Port) bool { return p.Host != 0 })
}

// expose publishes the ports of a placement that has a reservation, if it asks
// for any. Twice is as once.
func (a *Agent) expose(ctx context.Context, h Hold) error {
	if !published(h.Request) {
		return nil
	}
	if err := a.portPen.take(ctx); err != nil {
		return err
	}
	defer a.portPen.put()
	return a.Ports.Expose(ctx, h.ID, h.Request.Ports)
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
		for _, h := range a.keepPorts(ctx) {
			if err := a.expose(ctx, h); err != nil && ctx.Err() == nil {
				a.Logger.Warn("cannot publish ports again", "placement", h.ID, "err", err)
			}
		}
	})
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
