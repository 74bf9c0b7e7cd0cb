package retryq

import (
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// memory is what the ledger has at hand: a copy of every live record with its
// revision, and what is never durable: due times, tries, reasons, timers, the
// last report of each node. The ledger's lock guards all of it.
type memory struct {
	meta    rule.Meta
	metaRev uint64
	rev     uint64 // of the last transition

	apps     map[string]*appEntry // by appKey
	replicas map[placement.Replica]*replicaEntry
	places   map[placement.ID]*entry
	nodes    map[placement.NodeID]*nodeEntry
	slots    map[string]map[placement.ID]bool // HA slots that are held, by slotKey

	queue *queue
	hold  hold
	// During a hold of all, what nodes answered about requests, by digest; and
	// since it, why what is unknown could not be taken in.
	fetched    map[string]*fetched
	quarantine map[placement.ID]string

	hub   hub
	audit audit

	orders []order                 // stop orders that need not wait for a report
	rolls  map[string]bool         // apps to roll out, by appKey
	dirty  map[placement.ID]bool   // seen running, not yet written
	dying  map[placement.ID]string // what no node can ever run, and why
}

type appEntry struct {
	rec      rule.App
	rev      uint64
	digests  []string // of the wished services' requests
	replicas map[placement.Replica]bool
	settled  bool   // nothing is left to roll out
	trace    string // of the submit that is being rolled out
}

type replicaEntry struct {
	rec rule.Replica
	rev uint64
}

// entry is one placement that is not buried.
type entry struct {
	rec   rule.Record
	rev   uint64    // of the durable record; RUNNING may be ahead of it
	kept  rule.Kept // of the durable record, for the log
	since time.Time
	trace tracing

	phase string // of the work on a node
	why   string // why it waits

	tries    int
	sum      []placement.Refusal
	lockless bool
	solo     bool                                  // waits in a class of its own: something is wrong with itself
	finals   map[placement.NodeID]string           // nodes that say no node can ever run it
	early    map[placement.NodeID]placement.Reason // nodes that gave it up before the try was settled
	takers   map[placement.NodeID]time.Time        // last word of each node that works on an offer

	startBy    time.Time // it has to be seen running by then; zero: no matter
	ranFrom    time.Time // seen running since
	restartAt  time.Time // backs off a restart until then
	fresh      bool      // it ran for long before it ended: a restart is its first
	deadlineAt time.Time // zero: none
}

// nodeEntry is one node.
type nodeEntry struct {
	rec   rule.Node
	rev   uint64
	bound map[placement.ID]*entry // with Bound on this node

	registered bool // with this start
	listed     bool // a complete listing under that session

	turn    chan struct{} // one report of the node is applied at a time
	link    uint64        // of the newest word
	seq     uint64
	listing *listing // the last acknowledged complete one
	unknown []placement.Copy

	lostFor  map[string]time.Duration // silence told by the sweeper, by owner ("": all)
	badRoots map[string]time.Time     // owners whose daemon shows another data-root, since
}

// listing is what a node's last complete report said.
type listing struct {
	digest  string
	daemons []placement.DaemonListing
	copies  []placement.Copy
	at      *placement.SessionOp
}

type order struct {
	node placement.NodeID
	stop placement.StopOrder
}

func newMemory() memory {
	return memory{
		apps:       make(map[string]*appEntry),
		replicas:   make(map[placement.Replica]*replicaEntry),
		places:     make(map[placement.ID]*entry),
		nodes:      make(map[placement.NodeID]*nodeEntry),
		slots:      make(map[string]map[placement.ID]bool),
		queue:      newQueue(),
		fetched:    make(map[string]*fetched),
		quarantine: make(map[placement.ID]string),
		rolls:      make(map[string]bool),
		dirty:      make(map[placement.ID]bool),
		dying:      make(map[placement.ID]string),
	}
}

func (m *memory) app(key string) *appEntry {
	a := m.apps[key]
	if a == nil {
		a = &appEntry{replicas: make(map[placement.Replica]bool)}
		m.apps[key] = a
	}
	return a
}

func (m *memory) node(id placement.NodeID) *nodeEntry {
	n := m.nodes[id]
	if n == nil {
		n = &nodeEntry{bound: make(map[placement.ID]*entry), turn: make(chan struct{}, 1)}
		n.rec.Node = id
		m.nodes[id] = n
	}
	return n
}

// wanted is the record of the replica's wanted life.
func (m *memory) wanted(r *replicaEntry) *entry {
	if r == nil || r.rec.Wanted == "" {
		return nil
	}
	return m.places[r.rec.Replica.Placement(r.rec.Wanted)]
}

// isWanted tells whether the placement is the newest wanted life of its
// replica.
func (m *memory) isWanted(id placement.ID) bool {
	r := m.replicas[id.Replica()]
	return r != nil && r.rec.Wanted == id.Life()
}

// standings are the replicas of an app, as its rollout compares them.
func (m *memory) standings(a *appEntry) []rule.Standing {
	have := make([]rule.Standing, 0, len(a.replicas))
	for name := range a.replicas {
		r := m.replicas[name]
		if r == nil {
			continue
		}
		s := rule.Standing{Replica: r.rec}
		if e := m.wanted(r); e != nil {
			rec := e.rec
			s.Wanted, s.Moves = &rec, m.moves(rec)
		}
		have = append(have, s)
	}
	return have
}

// moves tells whether a placement is on a node that is drained, and may run on
// another.
func (m *memory) moves(rec rule.Record) bool {
	if !rec.Live() || rec.Request.Node == rec.Bound.Node {
		return false
	}
	n := m.nodes[rec.Bound.Node]
	return n != nil && n.rec.Draining
}

// away tells whether what a node held counts as gone: it is given up, or
// silent for longer than the placement allows.
func (m *memory) away(node placement.NodeID, rec rule.Record, usual time.Duration) bool {
	n := m.nodes[node]
	if n == nil {
		return false
	}
	if n.rec.GivenUp {
		return true
	}
	silent := max(n.lostFor[""], n.lostFor[rec.ID.Owner()])
	return silent > 0 && silent >= lostAfter(rec, usual)
}

// lostAfter is the silence after which the placement counts as lost.
func lostAfter(rec rule.Record, usual time.Duration) time.Duration {
	if d := rec.Request.LostAfter.Duration(); d > 0 {
		return d
	}
	return usual
}

// barred lists the known nodes in whose domain another replica holds the HA
// slot that the placement needs.
func (m *memory) barred(rec rule.Record) []placement.Pass {
	if rec.Request.HAToken == "" {
		return nil
	}
	var barred []placement.Pass
	for _, id := range sortedKeys(m.nodes) {
		held := m.slots[slotKey(rec, m.nodes[id].rec.NodeRecord)]
		for _, other := range sortedKeys(held) {
			if other.Replica() != rec.ID.Replica() {
				barred = append(barred, placement.Pass{Node: id, Reason: placement.Reason{
					Code: placement.ReasonHAToken, Need: rec.Request.HAToken, Have: "held by " + string(other.Replica()),
				}})
				break
			}
		}
	}
	return barred
}
