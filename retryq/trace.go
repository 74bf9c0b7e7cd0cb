package retryq

import (
	"time"

	"longshore/internal/placement"
	"longshore/internal/trace"
)

// tracing is where the steps of a placement belong until it is seen running:
// to the submit, or the retry, that asked for it; else to a trace that begins
// with its wait. It is memory only: after a start of the ledger, and when a
// copy is lost, a new trace begins.
type tracing struct {
	parent string    // W3C traceparent; "" none yet
	last   string    // ID of the trace that was last, for those who ask
	from   time.Time // it waits since then
}

// follow lets the steps of what a change put into the queue belong to the
// trace of whoever made it. The lock is held.
func (l *Ledger) follow(c *change) {
	if c.trace == "" {
		return
	}
	if c.app != nil {
		l.mem.app(appKey(c.app.Owner, c.app.Name)).trace = c.trace
	}
	for _, r := range c.records {
		if e := l.mem.places[r.ID]; e != nil && e.rec.State == placement.Pending && e.trace.parent == "" {
			e.trace.join(c.trace)
		}
	}
}

func (t *tracing) join(parent string) { t.parent, t.last = parent, trace.ID(parent) }

// waited ends a wait for a node.
func (l *Ledger) waited(e *entry, now time.Time) {
	e.trace.join(l.cfg.Trace.Record(e.trace.parent, "wait", string(e.rec.ID), e.trace.from, now))
}

// seen ends the trace: the copy that is bound since then was seen running.
func (l *Ledger) seen(e *entry, since, now time.Time) {
	if e.trace.parent != "" {
		l.cfg.Trace.Record(e.trace.parent, "until seen running", string(e.rec.ID), since, now)
		e.trace.parent = ""
	}
}
