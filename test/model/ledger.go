package model

import (
	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// next is a new epoch of the present start, above all that the record had.
func (c *run) next(p int) placement.Epoch { return c.w.epoch[c.nextEpoch(p)] }

func (c *run) nextEpoch(p int) uint8 {
	r := &c.t.D.Recs[p]
	if startOf(r.E) != c.t.D.start() {
		return c.t.D.start() << counterBits
	}
	if r.E&maxCounter == maxCounter {
		panic("the model has no more epochs")
	}
	return r.E + 1
}

// durable counts a transition.
func (c *run) durable() {
	if c.cfg.Marks {
		c.t.D.Rev++
	}
}

func (c *run) mark() Mark {
	m := Mark{Gen: c.t.D.Gen, Start: c.t.D.start(), Rev: c.t.D.Rev}
	if !c.cfg.Marks {
		m.Rev = 0
	}
	return m
}

func (c *run) nodeRecord(n int) placement.NodeRecord {
	nd := &c.t.N[n]
	return placement.NodeRecord{Node: c.w.node[n], Draining: nd.Drain == 1, GivenUp: nd.Given == 1}
}

// holds tells whether a placement may be neither offered nor bound.
func (c *run) holds(p int) bool {
	t := &c.t
	return t.HoldOn == 1 && !c.bad.bindWhileHeld && (t.HoldAl == 1 || t.D.Recs[p].Born != t.D.start())
}

// away tells of a node whether what it holds counts as gone.
func (c *run) away(p int) away {
	return func(name placement.NodeID) bool {
		nd := &c.t.N[c.w.modelNode(name)-1]
		return c.t.HoldOn == 0 && (nd.Given == 1 || nd.Lost == 1)
	}
}

// put writes a record and its slot, with what follows from that.
func (c *run) put(p int, r record, domain uint8, s slotRec) {
	old := c.t.D.Recs[p]
	c.model(p, r)
	c.setSlot(domain, s)
	c.durable()
	c.follow(p, old)
}

// follow is what the ledger does after a record changed: orders that need not
// wait for a report.
func (c *run) follow(p int, old Rec) {
	r := &c.t.D.Recs[p]
	leaving := r.Bound.N != 0 && !r.live()
	was := old.Bound.N != 0 && !old.live()
	switch {
	case leaving && (old.State != r.State || !was):
		c.order(int(r.Bound.N)-1, p, r.Bound.E)
	case r.State == pending && old.State == done && r.Home != 0:
		c.order(int(r.Home)-1, p, old.E)
	case old.State == pending && r.State > running:
		for n := range c.cfg.Nodes { // those that work on the offer
			if k := c.t.N[n].T[p]; k.PC != idle && k.E == old.E {
				c.order(n, p, old.E)
			}
		}
	}
}

// order sends a stop order ahead of the node's reports.
func (c *run) order(n, p int, e uint8) {
	if c.t.HoldOn == 0 && c.t.N[n].Reg == 1 {
		c.sendOrder(n, p, e)
	}
}

func (c *run) sendOrder(n, p int, e uint8) {
	c.t.N[n].Ord[p] = Order{E: e, Gen: c.t.D.Gen, Start: c.t.D.start(), Hist: c.t.Hist}
}

// bury leaves a placement's tombstone.
func (c *run) bury(p int) {
	c.t.D.Recs[p] = Rec{State: buried, E: c.t.D.Recs[p].E}
	r := &c.t.D.Repl[c.cfg.Replica[p]]
	r.Lives &^= 1 << p
	if int(r.Wanted) == p+1 {
		r.Wanted = 0
	}
	c.durable()
}

// settle applies what a loss came to.
func (c *run) settle(p int, r record, domain uint8, s slotRec, o rule.Outcome) {
	switch o {
	case rule.Nothing:
	case rule.Gone:
		old := c.t.D.Recs[p]
		c.setSlot(domain, s)
		c.bury(p)
		c.follow(p, old)
	case rule.Back, rule.Rest:
		c.put(p, r, domain, s)
	}
}

// bind decides a bind or an exit that has arrived; noAnswer: ask again.
func (c *run) bind(n, p int, q Req) uint8 {
	nd := &c.t.N[n]
	if nd.Reg == 0 || nd.Sess != q.At.S {
		return stale
	}
	rec := c.t.D.Recs[p]
	switch {
	case rec.State == unborn:
		return noAnswer
	case rec.State == buried && c.t.HoldOn == 1:
		return noAnswer
	case rec.State == buried:
		return no
	}
	mine := rec.live() && rec.Bound.is(n, q.E)
	held := c.holds(p)
	if held && (c.t.HoldAl == 1 || !mine && !rec.Last.is(n, q.E)) {
		return noAnswer
	}
	domain := c.domainOf(n)
	if mine {
		domain = rec.Slot
	}
	next, slot, a := c.decide(n, p, q, domain)
	if held && a.Verdict != placement.VerdictYes {
		return noAnswer
	}
	if q.Kind == 2 && a.Changed && a.Verdict != placement.VerdictYes && c.t.N[n].C[p] == (Cont{State: up, E: q.E}) {
		c.violate("the bound copy was taken for ended while it runs")
	}
	if a.Changed && a.Verdict == placement.VerdictNo && rec.Last.is(n, q.E) && !rec.Last.At.less(q.At) {
		c.violate("a late question condemned the copy that may be adopted")
	}
	if a.Changed {
		c.put(p, next, domain, slot)
		if a.Verdict == placement.VerdictYes && c.t.N[n].Susp[p] == q.E {
			c.t.N[n].Susp[p] = 0
		}
	}
	switch a.Verdict {
	case placement.VerdictYes:
		return yes
	case placement.VerdictDone:
		return doneFor
	default:
		return no
	}
}

func (c *run) decide(n, p int, q Req, domain uint8) (record, slotRec, rule.Answer) {
	rec, slot, node := c.product(p), c.slot(domain), c.nodeRecord(n)
	b := placement.Bind{Node: node.Node, ID: rec.ID, Epoch: c.w.epoch[q.E], Digest: rec.Digest, At: c.w.productAt(q.At)}
	if q.Kind != 2 {
		return c.rules.Bind(rec, slot, c.slotKey(domain), node, b)
	}
	code := 1
	b.Exit = &code
	return c.rules.Exit(rec, slot, c.slotKey(domain), node, b, c.next(p), 0)
}

// failed takes the word that a start was refused.
func (c *run) failed(n, p int, f Fail) {
	nd := &c.t.N[n]
	rec := c.t.D.Recs[p]
	if nd.Reg == 0 || nd.Sess != f.At.S || rec.State == unborn || rec.State == buried {
		return
	}
	r := c.product(p)
	word := placement.Failed{Node: c.w.node[n], ID: r.ID, Epoch: c.w.epoch[f.E], At: c.w.productAt(f.At)}
	next, slot, o := c.rules.Failed(r, c.slot(rec.Slot), word, c.next(p))
	if o != rule.Nothing && c.copyRuns(n, p, rec.Bound.E) {
		c.violate("the start was taken for refused while the copy runs")
	}
	c.settle(p, next, rec.Slot, slot, o)
}

// report takes what a node lists, or what one event told.
func (c *run) report(n int, r Report) {
	nd := &c.t.N[n]
	nd.Lost = 0
	held := c.t.HoldOn == 1 && !c.bad.absentWhileHeld
	full := r.Kind == 1
	var t rule.Trust
	if nd.Reg == 1 {
		t.Orders, t.Adopt = !held, !held || c.t.HoldAl == 0
		if at := c.proof(nd, r); at.S != 0 && at.S <= nd.Sess {
			product := c.w.productAt(at)
			t.At = &product
		}
	}
	for p := range c.cfg.places() {
		s := r.C[p]
		if s.State != none && !c.unlisted(r, p) {
			c.see(n, p, s, t)
		}
	}
	if full && t.At != nil && !held {
		c.absences(n, r, t)
	}
	if full {
		if t.At != nil && (uint8(t.At.Session) == nd.Sess || c.bad.oldListingCounts) {
			nd.Listed = 1
		}
		if c.cfg.Marks {
			nd.LAt, nd.LC, nd.LDown = r.At, r.C, r.Down
		}
	}
	c.endHold()
}

// proof is the (session, op) that a report's absences prove.
func (c *run) proof(nd *Node, r Report) At {
	if r.At.S == 0 && c.bad.noFileProves {
		return nd.Cur
	}
	return r.At
}

// unlisted tells whether the daemon of a placement was not listed.
func (c *run) unlisted(r Report, p int) bool {
	return r.Kind == 1 && r.Down>>c.cfg.Owner[c.cfg.Replica[p]]&1 == 1
}

var copyStates = [...]placement.CopyState{created: placement.CopyCreated, up: placement.CopyRunning, exited: placement.CopyExited}

// see applies one copy that a report shows.
func (c *run) see(n, p int, s Shown, t rule.Trust) {
	rec := c.t.D.Recs[p]
	switch {
	case rec.State == unborn && c.bad.unknownKilled && t.Orders:
		c.sendOrder(n, p, s.E)
		return
	case rec.State == buried && t.Orders && !c.bad.tombStopsNothing:
		c.sendOrder(n, p, s.E)
		return
	case rec.State == unborn || rec.State == buried:
		return
	}
	r, domain := c.product(p), c.domainOf(n)
	copied := placement.Copy{ID: r.ID, Epoch: c.w.epoch[s.E], State: copyStates[s.State]}
	next, slot, sight := c.rules.Seen(r, c.slot(domain), c.slotKey(domain), c.w.node[n], copied, t)
	if sight.Stop != "" {
		c.spareAdoptable(n, p, s, domain)
		c.sendOrder(n, p, s.E)
	}
	switch {
	case sight.Changed:
		c.put(p, next, domain, slot)
		if sight.Adopted && c.t.N[n].Susp[p] == s.E {
			c.t.N[n].Susp[p] = 0
		}
	case sight.Running:
		c.t.D.Recs[p].State = running
	case sight.Ended && rec.State == running && (t.At == nil || !modelAt(*t.At).less(rec.Bound.At)):
		c.t.D.Recs[p].State = bound
	}
}

// absences applies what a complete listing does not show.
func (c *run) absences(n int, r Report, t rule.Trust) {
	for p := range c.cfg.places() {
		rec := c.t.D.Recs[p]
		if int(rec.Bound.N) != n+1 || r.C[p] == (Shown{r.C[p].State, rec.Bound.E}) && r.C[p].State != none {
			continue
		}
		if c.unlisted(r, p) && !c.bad.unlistedIsEmpty {
			continue
		}
		next, slot, o := c.rules.Absent(c.product(p), c.slot(rec.Slot), c.w.node[n], *t.At, c.next(p))
		if o != rule.Nothing && c.copyRuns(n, p, rec.Bound.E) {
			c.violate("the bound copy was declared absent while it runs")
		}
		c.settle(p, next, rec.Slot, slot, o)
	}
}

// lose is silence, or a start that was not seen in time: from now on the copy
// may run beside another.
func (c *run) lose(n, p int) {
	rec := c.t.D.Recs[p]
	next, slot, o := c.rules.Lose(c.product(p), c.slot(rec.Slot), c.w.node[n], c.next(p))
	if o == rule.Nothing {
		return
	}
	c.t.N[n].Susp[p] = rec.Bound.E
	c.settle(p, next, rec.Slot, slot, o)
}
