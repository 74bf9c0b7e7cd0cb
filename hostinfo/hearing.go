package hostinfo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"longshore/internal/placement"
)

// A node is what the collector remembers of one node. The collector's mutex
// guards it.
type node struct {
	name     placement.NodeID
	agent    time.Time // last word of each process; zero: none yet
	hostinfo time.Time
	alarms   [2]string // of agentd and of hostinfod, by their beats

	link   uint64 // the newest, and when it was opened
	opened time.Time
	older  time.Time // a report came on an older link, well after that

	seenLink, seenSeq uint64    // of the listing
	listed            time.Time // when it came
	listing           Listing
	digest            string
	room              placement.Room
	unknown           []string
	daemons           map[string]*daemon

	host   HostAnswer
	asked  time.Time // whether the host answers
	begun  bool
	lost   time.Time // when all was put back; zero: it is not lost
	freed  bool      // an operator released this silence from the mass guard
	asking time.Time // not before: tell the ledger of the silence again

	orders  []placement.StopOrder
	carried bool
}

// A daemon is one owner's on a node.
type daemon struct {
	shown  time.Time // by a listing; at first when it was heard of
	mute   bool      // the last listing could not show it
	absent bool      // or did not even name it
	err    string
	begun  bool
	freed  bool // as of a node
	asking time.Time
}

// node finds what is known of a node; nil if too many are. The mutex is held.
func (c *Collector) node(name placement.NodeID) *node {
	n := c.nodes[name]
	if n == nil && len(c.nodes) < maxNodes {
		n = &node{name: name, daemons: map[string]*daemon{}}
		c.nodes[name] = n
	}
	return n
}

// expand notes that hostinfod was heard, and gives a report that came as a
// digest its listing back. known is false if it has to be sent whole.
func (c *Collector) expand(r placement.Report) (n *node, _ placement.Report, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = c.node(r.Node)
	if n == nil {
		return nil, r, false
	}
	now := time.Now()
	n.hostinfo = now
	if r.Link < n.link && now.Sub(n.opened) > 2*c.cfg.Timeout {
		n.older = now
	}
	if r.Same == "" {
		return n, r, true
	}
	if r.Same != n.digest {
		return n, r, false
	}
	r.Same, r.Daemons, r.Copies = "", n.listing.Daemons, n.listing.Copies
	return n, r, true
}

// took keeps a complete report that the ledger took, unless a newer one was
// there before; and tells whether the node has more room than it had.
func (c *Collector) took(n *node, r placement.Report, answer placement.ReportAnswer) (free placement.Resources, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmp.Or(cmp.Compare(r.Link, n.seenLink), cmp.Compare(r.Seq, n.seenSeq)) <= 0 {
		return free, false
	}
	now := time.Now()
	before := n.room.Free()
	if n.listed.IsZero() || now.Sub(n.listed) >= c.cfg.Times.Suspect {
		before = placement.Resources{} // it had none to offer
	}
	n.seenLink, n.seenSeq, n.listed, n.room = r.Link, r.Seq, now, r.Room
	n.listing = Listing{Daemons: r.Daemons, Copies: r.Copies}
	n.digest = n.listing.digest()
	n.unknown = n.unknown[:0:0]
	for _, u := range answer.Unknown {
		n.unknown = append(n.unknown, fmt.Sprintf("%s: %s", u.ID, u.Why))
	}
	n.show(r.Daemons, now)
	free = r.Room.Free()
	return free, free.CPU > before.CPU || free.Memory > before.Memory || free.Disk > before.Disk
}

// show notes which daemons a listing could show.
func (n *node) show(listed []placement.DaemonListing, now time.Time) {
	for _, d := range n.daemons {
		d.mute, d.absent, d.err = true, true, ""
	}
	for _, l := range listed {
		d := n.daemons[l.Owner]
		if d == nil {
			d = &daemon{shown: now}
			n.daemons[l.Owner] = d
		}
		if l.OK {
			*d = daemon{shown: now}
		} else {
			d.mute, d.absent, d.err = true, false, l.Err
		}
	}
}

// heard is the node's part of a snapshot.
func (n *node) heard(record placement.NodeRecord, now, began time.Time, t Times) Heard {
	age := func(at time.Time) time.Duration {
		if at.IsZero() {
			at = began
		}
		return now.Sub(at)
	}
	h := Heard{
		NodeRecord: record,
		Met:        !n.agent.IsZero() || !n.hostinfo.IsZero(),
		Agent:      age(n.agent), Hostinfo: age(n.hostinfo), Listing: age(n.listed),
		Doubled: !n.older.IsZero() && now.Sub(n.older) < t.Lost,
		Host:    n.host, Begun: n.begun, Lost: !n.lost.IsZero(), Freed: n.freed,
	}
	if h.Lost {
		h.LostFor = now.Sub(n.lost)
	}
	for _, owner := range slices.Sorted(maps.Keys(n.daemons)) {
		if d := n.daemons[owner]; d.mute {
			h.Daemons = append(h.Daemons, MuteDaemon{Owner: owner, Age: now.Sub(d.shown), Err: d.err, Begun: d.begun, Freed: d.freed})
		}
	}
	return h
}

// snapshot is all that is known now of the nodes recorded.
func (c *Collector) snapshot(records []placement.NodeRecord) Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := Snapshot{Void: now.Sub(c.voided), Trouble: c.trouble, LastBegun: now.Sub(c.lastBegun)}
	for _, r := range records {
		n := c.nodes[r.Node]
		if n == nil {
			n = &node{}
		}
		s.Nodes = append(s.Nodes, n.heard(r, now, c.began, c.cfg.Times))
	}
	slices.SortFunc(s.Nodes, func(a, b Heard) int { return cmp.Compare(a.Node, b.Node) })
	return s
}
