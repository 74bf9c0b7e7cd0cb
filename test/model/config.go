package model

import "longshore/internal/placement"

// Config is a small cluster, and what happens in it how often at most.
type Config struct {
	Name    string
	Nodes   int
	Replica []int // of each placement; the first of each replica exists at first
	Owner   []int // of each replica
	Domain  [maxNodes]uint8
	Token   bool // all replicas bear one HA token
	Alike   bool // the nodes are alike: no token
	Room    int  // copies a node has room for; 0: all
	Restart string
	Reports int  // of one node under way at once
	Marks   bool // for rollbacks: revisions and what agents keep of them
	Events  bool
	Runs    []int   // node that each placement runs on at first; -1: none
	Takers  []uint8 // of each placement: bits of the nodes that take its offers; nil: all
	Blind   uint8   // bits of nodes without hostinfod
	Absent  []bool  // replicas that are not submitted at first
	Joined  uint8   // bits of nodes that the copy does not know
	Copied  int     // the ledger's file was copied at first; 2: and the ledger started again
	Draws   bool    // repair cannot be expected: there may be no place left
	Faults  map[int]uint8
}

func (c *Config) places() int { return len(c.Replica) }

func (c *Config) replicas() int { return len(c.Owner) }

func (c *Config) first(r int) int {
	for p, of := range c.Replica {
		if of == r {
			return p
		}
	}
	return -1
}

func (c *Config) replicaOf(r int) placement.Replica { return c.replica(c.first(r)) }

// run is one walker through the states: a configuration, the protocol, and the
// step in hand.
type run struct {
	cfg    *Config
	rules  Rules
	bad    Misread
	w      *names
	from   *State
	t      State
	broken string
	out    func(Act)
}

// Defect is the protocol with one clause removed or misread.
type Defect struct {
	Name   string
	Why    string // which clause
	Breaks func(*Rules, *Misread)
	Config Config // where it shows
	Repair bool   // it shows in what is not repaired
}

func newRun(cfg *Config, breaks func(*Rules, *Misread)) *run {
	c := &run{cfg: cfg, rules: product(), w: newNames(cfg), out: func(Act) {}}
	if breaks != nil {
		breaks(&c.rules, &c.bad)
	}
	return c
}

// initial is the cluster with all nodes registered and heard, and the first
// life of each replica submitted.
func (c *run) initial() State {
	var s State
	s.Hist = 1
	s.D.Gen, s.D.NStart = 1, 1
	s.D.Starts[0] = Start{Start: 1<<randomBits | 1}
	if c.cfg.Marks {
		s.D.Starts[0].First, s.D.Rev = 1, 2
	}
	if c.bad.startNotRandom {
		s.D.Starts[0].Start = 1 << randomBits
	}
	for kind, n := range c.cfg.Faults {
		s.Left[kind] = n
	}
	for n := range c.cfg.Nodes {
		nd := &s.N[n]
		nd.Sess, nd.Reg, nd.Listed, nd.RS, nd.RGen, nd.RSt = 1, 1, 1, 1, 1, s.D.start()
		nd.Cur, nd.File = At{S: 1}, At{S: 1}
		nd.Mark = Mark{1, s.D.start(), min(s.D.Rev, 1)}
	}
	for r := range c.cfg.replicas() {
		p := c.cfg.first(r)
		if c.cfg.Absent != nil && c.cfg.Absent[r] {
			continue
		}
		s.Used |= 1 << p
		s.D.Repl[r] = Repl{Lives: 1 << p, Wanted: uint8(p + 1), Wish: uint8(1 + p), Wishes: 1}
		s.D.Recs[p] = Rec{State: pending, E: s.D.start() << counterBits, Born: s.D.start(), Digest: uint8(1 + p)}
	}
	c.t = s
	for p, n := range c.cfg.Runs {
		if n >= 0 {
			c.runsAt(n, p)
		}
	}
	if c.cfg.Copied > 0 {
		c.save()
		for n := range c.cfg.Nodes {
			if c.cfg.Joined>>n&1 == 1 {
				c.t.N[n].Saved[0] = 0
			}
		}
	}
	if c.cfg.Copied > 1 {
		c.t.D.Rev++
		c.setMeta(c.meta().Begin(uint16(c.t.D.start()&(1<<randomBits-1)), uint64(c.t.D.Rev), false, placement.Mark{}))
		for n := range c.cfg.Nodes {
			c.t.N[n].RSt, c.t.N[n].Mark = c.t.D.start(), c.mark()
		}
		for p := range c.cfg.places() {
			if r := &c.t.D.Recs[p]; r.State == pending {
				r.E = c.t.D.start() << counterBits
			}
		}
		c.t.D.Rev++
	}
	s = c.t
	c.canon(&s)
	return s
}

// runsAt has a placement run on a node, as if it had been bound there.
func (c *run) runsAt(n, p int) {
	nd, r := &c.t.N[n], &c.t.D.Recs[p]
	nd.C[p] = Cont{State: up, E: r.E}
	nd.stepOp()
	c.t.Old[p] = Order{E: r.E, Gen: c.t.D.Gen, Start: c.t.D.start()}
	r.State, r.Slot = running, c.domainOf(n)
	r.Bound = Holder{uint8(n + 1), r.E, nd.Cur}
	r.Last = r.Bound
	if r.Slot != 0 {
		c.t.D.Slots[r.Slot-1] |= 1 << p
	}
	nd.stepOp()
}
