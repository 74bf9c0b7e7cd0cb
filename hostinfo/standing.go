package hostinfo

import (
	"time"

	"longshore/internal/placement"
)

// What the sweeper keeps of each node lies with what the collector heard of
// it, so that Nodes shows what the sweeper does. These are its only writers.

const probeEach = 5 * time.Second

// begin makes all silences begin now.
func (c *Collector) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.voided = now
}

// doubt keeps why we suspect ourselves; while we do, silences begin again.
func (c *Collector) doubt(now time.Time, trouble string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble, c.failed = trouble, nil
	if trouble != "" {
		c.voided = now
	}
}

// self is how many nodes should be heard, how long none was, and how the
// ledger failed since it was asked last.
func (c *Collector) self(records []placement.NodeRecord, now time.Time) (nodes int, unheard time.Duration, failed error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unheard = now.Sub(c.began)
	for _, r := range records {
		if r.GivenUp {
			continue
		}
		nodes++
		if n := c.nodes[r.Node]; n != nil && (!n.agent.IsZero() || !n.hostinfo.IsZero()) {
			unheard = min(unheard, now.Sub(last(n.agent, n.hostinfo)))
		}
	}
	return nodes, unheard, c.failed
}

// settle forgets a silence that is over.
func (c *Collector) settle(h Heard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[h.Node]
	if n == nil || h.quiet() >= c.cfg.Times.Soonest {
		return
	}
	n.host, n.asked = HostUnknown, time.Time{}
	if h.half(c.cfg.Times) < c.cfg.Times.Lost {
		n.begun, n.freed, n.lost, n.asking = false, false, time.Time{}, time.Time{}
	}
}

// known is what is kept of a node, also of one that was never heard: its
// silence has to be kept too. The mutex is held.
func (c *Collector) known(name placement.NodeID) *node {
	if n := c.node(name); n != nil {
		return n
	}
	return &node{} // there are too many; it is asked and told each round
}

// due tells whether the ledger should hear of a silence again.
func (c *Collector) due(l Loss, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.known(l.Node)
	if l.Owner == "" {
		return !now.Before(n.asking)
	}
	d := n.daemons[l.Owner]
	return d != nil && !now.Before(d.asking)
}

// gone keeps what the ledger answered; true if the node is lost by it.
func (c *Collector) gone(l Loss, lost int, more bool, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.Begins && lost > 0 {
		c.lastBegun = now
	}
	n := c.known(l.Node)
	asking := now
	if !more {
		asking = now.Add(pace(l.For.Duration()))
	}
	if l.Owner != "" {
		if d := n.daemons[l.Owner]; d != nil {
			d.begun, d.asking = d.begun || lost > 0, asking
			if d.absent && l.Final && lost == 0 && !more {
				delete(n.daemons, l.Owner) // nothing of its is left to lose
			}
		}
		return false
	}
	n.begun, n.asking = n.begun || lost > 0, asking
	if l.Final && !more && n.lost.IsZero() {
		n.lost = now
		return true
	}
	return false
}

// pace is how long after telling the ledger of a silence to tell it again,
// because it has grown by a hundredth; a little less, so that each round of a
// second does.
func pace(silence time.Duration) time.Duration {
	return max(time.Second, silence/100) - 100*time.Millisecond
}

// ask tells whether it is time to ask if the host answers, and takes that on.
func (c *Collector) ask(name placement.NodeID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.known(name)
	if !n.asked.IsZero() && now.Sub(n.asked) < probeEach {
		return false
	}
	n.asked = now
	return true
}

// askAgain takes an ask back that could not be done.
func (c *Collector) askAgain(name placement.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known(name).asked = time.Time{}
}

// answered keeps a host's answer to what was asked at a time; one to an older
// question, or about a silence that is over, says nothing.
func (c *Collector) answered(name placement.NodeID, asked time.Time, answers bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.known(name)
	if !n.asked.Equal(asked) {
		return
	}
	n.host = HostMute
	if answers {
		n.host = HostAnswers
	}
}
