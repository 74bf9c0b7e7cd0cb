package sim

import "time"

// settling is what a node takes, once its links are up, to register and to
// send its first listing.
const settling = 10 * time.Second

// disturbed notes that a fault begins (+1) or ends (-1) on the node.
func (n *node) disturbed(by int) {
	n.trouble += by
	n.calm = n.w.e.now()
}

// contact is since when nothing keeps the ledger from hearing the node and
// from having its way there; not ok while something does.
func (w *world) contact(n *node) (since time.Duration, ok bool) {
	if n.trouble > 0 || n.host.down || w.trouble > 0 || w.server == nil || w.server.over() || w.ledger == nil || w.ledger.Holding() != "" {
		w.lastHold = max(w.lastHold, w.e.now())
		return 0, false
	}
	since = max(n.calm, w.calm, w.lastHold)
	agent, hostinfo := false, false
	for _, c := range w.net.conns {
		switch c.proc {
		case n.agentd:
			agent, since = true, max(since, c.opened)
		case n.hostinfod:
			hostinfo, since = true, max(since, c.opened)
		}
	}
	return since + settling, agent && hostinfo
}

// disturbed notes that a fault begins (+1) or ends (-1) that all nodes feel.
func (w *world) disturbed(by int) {
	w.trouble += by
	w.calm = w.e.now()
}
