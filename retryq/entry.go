package retryq

import (
	"fmt"
	"strings"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// waits begins a wait for a node. Tries and reasons of earlier ones are kept
// until it runs.
func (e *entry) waits(now time.Time) {
	e.phase, e.takers = "", nil
	e.startBy, e.ranFrom, e.restartAt = time.Time{}, time.Time{}, time.Time{}
	e.trace.from = now
	e.counts(now)
}

// counts lets the time that is left for the placement to run pass, or ends
// that.
func (e *entry) counts(now time.Time) {
	switch {
	case e.rec.Left == 0:
		e.deadlineAt = time.Time{}
	case e.deadlineAt.IsZero():
		e.deadlineAt = now.Add(e.rec.Left.Duration())
	}
}

// left is what remains of that time; 0 if it is not counted.
func (e *entry) left(now time.Time) placement.Millis {
	if e.rec.Left == 0 || e.deadlineAt.IsZero() {
		return e.rec.Left
	}
	return max(1, millis(e.deadlineAt.Sub(now)))
}

// starts begins the start of a bound copy, to be seen running by a time.
func (e *entry) starts(now, by time.Time) {
	e.phase, e.takers = "starting", nil
	e.startBy, e.ranFrom, e.restartAt, e.fresh = by, time.Time{}, time.Time{}, false
	e.counts(now)
}

// runs marks the copy as seen running.
func (e *entry) runs(now time.Time) {
	if e.ranFrom.IsZero() {
		e.ranFrom = now
	}
	e.phase, e.why, e.takers = "", "", nil
	e.startBy, e.restartAt, e.deadlineAt = time.Time{}, time.Time{}, time.Time{}
	e.tries, e.sum, e.lockless, e.solo, e.finals = 0, nil, false, false, nil
}

// ends stops every timer.
func (e *entry) ends() {
	e.phase, e.takers = "", nil
	e.startBy, e.ranFrom, e.restartAt, e.deadlineAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// ran is how long the copy has been seen running.
func (e *entry) ran(now time.Time) time.Duration {
	if e.ranFrom.IsZero() {
		return 0
	}
	return now.Sub(e.ranFrom)
}

// class names the placements with the same needs as this one: everything that
// a node looks at before it takes one. Of these only the oldest is offered.
func (e *entry) class() string {
	r := e.rec.Request
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s\x00%s\x00%s\x00%s\x00%s\x00%d/%d/%d", e.rec.ID.Owner(), r.HAToken, r.HADomain, r.Node, r.Net, r.Image, r.Needs.CPU, r.Needs.Memory, r.Needs.Disk)
	for _, p := range r.Ports {
		fmt.Fprintf(&b, "\x00p%d:%d/%s", p.Host, p.Container, p.Proto)
	}
	for _, p := range r.Listen {
		fmt.Fprintf(&b, "\x00l%d", p)
	}
	if e.rec.Home != "" {
		b.WriteString("\x00h" + string(e.rec.Home))
	}
	if e.solo {
		b.WriteString("\x00" + string(e.rec.ID))
	}
	return b.String()
}

// token is (owner, HA token) as slots name them; "" without.
func token(r rule.Record) string {
	if r.Request.HAToken == "" {
		return ""
	}
	return r.ID.Owner() + "/" + r.Request.HAToken
}

// enqueue lets a waiting placement be offered from due on, unless the ledger
// holds it or an older life is in its way.
func (l *Ledger) enqueue(e *entry, due time.Time) {
	m := &l.mem
	if e.rec.State != placement.Pending {
		return
	}
	r := m.replicas[e.rec.ID.Replica()]
	if m.hold.holds(e.rec.ID) || r != nil && r.rec.Blocked(e.rec.ID.Life()) {
		m.queue.drop(e.rec.ID, false, due)
		return
	}
	m.queue.line(e.rec.ID, e.class(), e.rec.Request.Needs, due)
}

// wakeToken makes what waits for an HA slot of the token due now.
func (l *Ledger) wakeToken(tok string, now time.Time) {
	m := &l.mem
	m.queue.hurryWhere(now, func(w *waiting) bool {
		e := m.places[w.id]
		return e != nil && token(e.rec) == tok
	})
}

// orderStop asks for a copy that is to leave to be stopped at once. Its node's reports
// repeat the order as long as the copy is there.
func (l *Ledger) orderStop(e *entry) {
	if e.rec.Bound != nil {
		l.orderAt(e.rec.Bound.Node, e.rec.ID, e.rec.Bound.Epoch, e.rec.Why)
	}
}

// callBack asks the nodes that work on an offer to give it up, since the
// placement waits no longer: else a long pull would go on, and hold its room,
// until the bind is refused. An order that is lost costs no more than that.
func (l *Ledger) callBack(e *entry, old rule.Record) {
	if old.State != placement.Pending {
		return
	}
	for _, node := range sortedKeys(e.takers) {
		l.orderAt(node, old.ID, old.Epoch, e.rec.Why)
	}
}

func (l *Ledger) orderAt(node placement.NodeID, id placement.ID, epoch placement.Epoch, why string) {
	m := &l.mem
	if m.hold.on || !m.node(node).registered || len(m.orders) >= maxOrders {
		return
	}
	m.orders = append(m.orders, order{node: node, stop: l.stopOrder(id, epoch, why)})
}

// maxOrders bounds the stop orders that nobody fetches; reports give them again.
const maxOrders = 10_000

func (l *Ledger) stopOrder(id placement.ID, epoch placement.Epoch, why string) placement.StopOrder {
	return placement.StopOrder{Mark: l.mark(), Cluster: l.mem.meta.Cluster, ID: id, Epoch: epoch, Why: why}
}
