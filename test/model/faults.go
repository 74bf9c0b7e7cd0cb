package model

import (
	"longshore/internal/placement"
)

// Faults, and what people do, each as often as a [Config] says.
const (
	fCrash     = iota // agentd dies, and is started again
	fHostinfo         // hostinfod is started again
	fReboot           // the machine
	fDies             // the machine, for ever
	fVanish           // a container is removed behind our back
	fRefuse           // Docker refuses a start
	fUnknown          // Docker does not answer a start
	fExit             // a container ends
	fSilence          // a node is not heard for longer than allowed
	fLate             // a start is not seen in time
	fAskAgain         // a bind's answer takes too long
	fDup              // a bind arrives twice
	fOldOffer         // an offer arrives after its time
	fFlap             // the agent's link breaks and comes up
	fRestart          // the ledger
	fSave             // its file is copied
	fRestore          // and copied back
	fHoldCut          // a hold ends by time
	fDaemon           // a daemon does not answer
	fDrain            // by an operator
	fGiveUp           // by an operator
	fRemove           // by the owner
	fSubmit           // by the owner, changed
	fSubmitTwo        // by two clients at once
	fStop             // by the owner
	fStart            // by the owner
	fDestroy          // by the owner
	fRevive           // by the owner
	fExpire           // a deadline passes
	fDie              // no node can ever run it
	fRetry            // by the owner
	fEvent            // an event is reported by itself
	faults
)

// Act is one step, as a story tells it.
type Act struct {
	What  string
	N, P  int8 // node, placement; -1: none
	Fault bool
	Note  uint8
}

// emit hands on the state in c.t as what a step came to.
func (c *run) emit(a Act) {
	for p := range c.cfg.places() {
		if old := c.from.D.Recs[p]; c.from.Left[fOldOffer] > 0 && old.State == pending && old != c.t.D.Recs[p] {
			c.t.Old[p] = Order{E: old.E, Gen: c.from.D.Gen, Start: c.from.D.start()}
		}
	}
	c.check(c.from)
	c.out(a)
}

// try runs one step on a copy of the state.
func (c *run) try(a Act, step func() bool) {
	c.t, c.broken = *c.from, ""
	if step() {
		c.emit(a)
	}
}

// fault is try for what happens so many times.
func (c *run) fault(kind int, a Act, step func() bool) {
	if c.from.Left[kind] == 0 {
		return
	}
	a.Fault = true
	c.try(a, func() bool {
		c.t.Left[kind]--
		return step()
	})
}

// successors calls out for each step that the state allows.
func (c *run) successors(s *State) {
	c.from = s
	for n := range c.cfg.Nodes {
		nd := &s.N[n]
		if nd.Dead == 1 {
			c.deadNode(n)
			continue
		}
		c.agentSteps(n)
		for p := range c.cfg.places() {
			c.placeSteps(n, p)
			c.netSteps(n, p)
		}
		c.watchSteps(n)
		c.nodeFaults(n)
	}
	c.ledgerSteps()
	for p := range c.cfg.places() {
		c.placeFaults(p)
	}
	for r := range c.cfg.replicas() {
		c.ownerSteps(r)
	}
}

// deadNode: nothing happens there any more but that it is found silent.
func (c *run) deadNode(n int) {
	if c.from.N[n].Lost == 0 || c.holdsOn(n) {
		c.try(Act{What: "is silent for too long", N: int8(n), P: -1}, func() bool { return c.silence(n) })
	}
}

func (c *run) holdsOn(n int) bool {
	for p := range c.cfg.places() {
		if int(c.from.D.Recs[p].Bound.N) == n+1 {
			return true
		}
	}
	return false
}

// silence loses what a node held. A hold keeps it back.
func (c *run) silence(n int) bool {
	if c.t.HoldOn == 1 {
		return false
	}
	c.t.N[n].Lost = 1
	for p := range c.cfg.places() {
		if int(c.t.D.Recs[p].Bound.N) == n+1 {
			c.lose(n, p)
		}
	}
	return true
}

func (c *run) agentSteps(n int) {
	nd := &c.from.N[n]
	at := func(what string) Act { return Act{What: what, N: int8(n), P: -1} }
	if nd.registers(c.from.D.start()) && nd.PS == 0 {
		if c.cfg.Marks {
			for random := range uint16(2) { // a lost start has one between
				c.try(Act{What: "agentd registers", N: int8(n), P: -1, Note: uint8(random)}, func() bool {
					before := c.t.D.Gen
					c.sendRegister(n, c.random(random))
					return c.t.D.Gen != before || random == 0
				})
			}
		} else {
			c.try(at("agentd registers"), func() bool { c.sendRegister(n, 0); return true })
		}
	}
	c.try(at("agentd takes its session"), func() bool { return c.t.N[n].PS != 0 && c.registered(n) })
	c.fault(fFlap, at("agentd's link breaks and comes up"), func() bool {
		c.t.N[n].Again = 1
		return nd.Again == 0
	})
	c.fault(fCrash, at("agentd is killed and started"), func() bool { c.crash(n); return true })
}

// random is the random part of a start: with the first history's in between,
// so that a lost start may be above or below.
func (c *run) random(which uint16) uint16 {
	switch {
	case c.t.Hist == 1:
		return 1
	case c.t.Hist > 2:
		return 3
	}
	return 2 * which
}

func (c *run) crash(n int) {
	nd := &c.t.N[n]
	for p := range c.cfg.places() {
		if nd.T[p].PC == starting && nd.C[p].State != none {
			nd.C[p].Hand = 1
		}
		nd.T[p] = Task{}
		nd.C[p].Maybe, nd.C[p].Done = 0, 0
	}
	nd.RS, nd.PS, nd.PMark, nd.Again = 0, 0, Mark{}, 0
	nd.Cur = nd.File
}

func (c *run) reboot(n int) {
	c.crash(n)
	nd := &c.t.N[n]
	nd.Cur, nd.File, nd.HI, nd.HAt = At{}, At{}, 0, At{}
	for p := range c.cfg.places() {
		nd.C[p].Hand = 0
		if nd.C[p].State == up {
			nd.C[p].State = exited
		}
	}
}

func (c *run) placeSteps(n, p int) {
	nd := &c.from.N[n]
	at := func(what string) Act { return Act{What: what, N: int8(n), P: int8(p)} }
	if c.bad.opBeforeCreate && nd.T[p].PC == made && nd.C[p].State == none {
		c.try(at("the container is created"), func() bool { c.t.N[n].C[p] = Cont{State: created, E: nd.T[p].E}; return true })
		return
	}
	if nd.C[p].State == none && nd.T[p].PC == idle {
		if c.cfg.Takers != nil && c.cfg.Takers[p]>>n&1 == 0 {
			return
		}
		c.t = *c.from
		if e := c.offered(n, p); e != 0 {
			c.try(at("takes the offer and creates the container"), func() bool { return c.prepare(n, p, e) })
		}
		if o := c.from.Old[p]; o.E != 0 && o.Gen >= nd.Mark.Gen && o.Start <= nd.RSt {
			c.fault(fOldOffer, at("takes an old offer and creates the container"), func() bool { return c.prepare(n, p, o.E) })
		}
		return
	}
	switch nd.T[p].PC {
	case starting:
		c.try(at("Docker starts the container"), func() bool { return c.t.N[n].startRuns(p) })
		if nd.C[p].State == none {
			c.try(at("there is nothing to start"), func() bool { return c.startRefused(n, p) })
		}
		c.fault(fRefuse, at("Docker refuses to start the container"), func() bool { return c.startRefused(n, p) })
		c.fault(fUnknown, at("Docker does not answer the start"), func() bool { return c.startUnknown(n, p) })
	case started, removed:
		c.try(at("agentd steps op"), func() bool { return c.t.N[n].settled(p) })
	case removing:
		c.try(at("the copy is removed"), func() bool { return c.remove(n, p) })
	}
	if nd.asks(p) {
		c.try(at("agentd asks"), func() bool { c.ask(n, p); return true })
	} else if nd.T[p].PC == asked && nd.RS != 0 {
		c.fault(fAskAgain, at("agentd asks again"), func() bool { c.ask(n, p); return true })
	}
	c.try(at("a start that dockerd had in its hands happens"), func() bool { return c.t.N[n].handStarts(p) })
	if nd.C[p].Hand == 1 {
		c.try(at("a start that dockerd had in its hands does not happen"), func() bool { c.t.N[n].C[p].Hand = 0; return true })
	}
	if c.bad.restartsItself && nd.C[p].State == exited {
		c.try(at("Docker starts the ended container by itself"), func() bool { c.t.N[n].C[p].State = up; return true })
	}
	if nd.C[p].State != none {
		c.fault(fVanish, at("the container is removed by hand"), func() bool { c.t.N[n].C[p] = Cont{}; return true })
	}
	if nd.C[p].State == up {
		c.fault(fExit, at("the container ends"), func() bool { c.t.N[n].C[p].State = exited; return true })
	}
	c.fault(fEvent, at("hostinfod reports the container"), func() bool { return c.event(n, p) })
}

// netSteps are the arrivals.
func (c *run) netSteps(n, p int) {
	nd := &c.from.N[n]
	at := func(what string) Act { return Act{What: what, N: int8(n), P: int8(p)} }
	for i, q := range nd.Req[p] {
		if q.Kind == 0 {
			continue
		}
		c.try(at("the bind arrives"), func() bool { c.arrive(n, p, i, true); return true })
		c.fault(fDup, at("the bind arrives, and will again"), func() bool { c.arrive(n, p, i, false); return true })
	}
	if c.bad.slotNotCompared && nd.Req[p][0].Kind != 0 {
		c.bothArrive(n, p)
	}
	if nd.Ans[p].Verdict != noAnswer {
		c.try(at("the answer arrives"), func() bool { return c.hearAnswer(n, p) })
	}
	if f := nd.Fail[p]; f.E != 0 {
		c.try(at("the word of the refused start arrives"), func() bool {
			c.t.N[n].Fail[p] = Fail{}
			c.failed(n, p, f)
			return true
		})
	}
	if nd.Ord[p].E != 0 {
		c.try(at("the stop order arrives"), func() bool { return c.takeOrder(n, p) })
	}
}

func (c *run) arrive(n, p, i int, last bool) {
	reqs := &c.t.N[n].Req[p]
	q := reqs[i]
	if last {
		if i == 0 {
			reqs[0] = reqs[1]
		}
		reqs[1] = Req{}
	}
	v := c.bind(n, p, q)
	if v != noAnswer {
		c.t.N[n].Ans[p] = Ans{Verdict: v, E: q.E, At: q.At, Mark: c.mark(), Hist: c.t.Hist}
	}
}

// bothArrive is a defect: two binds are decided on what both have read, and
// both are written.
func (c *run) bothArrive(n, p int) {
	for m := range c.cfg.Nodes {
		for q := range c.cfg.places() {
			if q == p || c.from.N[m].Req[q][0].Kind == 0 {
				continue
			}
			c.try(Act{What: "its bind is decided beside another's", N: int8(n), P: int8(p)}, func() bool {
				slots := c.t.D.Slots
				c.arrive(n, p, 0, true)
				after := c.t.D.Slots
				c.t.D.Slots = slots
				c.arrive(m, q, 0, true)
				for i := range after {
					c.t.D.Slots[i] |= after[i]
				}
				return true
			})
		}
	}
}

func (c *run) watchSteps(n int) {
	at := func(what string) Act { return Act{What: what, N: int8(n), P: -1} }
	nd := &c.from.N[n]
	if c.cfg.Blind>>n&1 == 1 {
		return
	}
	c.try(at("hostinfod reads the op file"), func() bool { return c.readOp(n) })
	c.try(at("hostinfod lists"), func() bool { return c.list(n) })
	for i := range c.cfg.Reports {
		if nd.Reps[i].Kind != 0 {
			c.try(Act{What: "a report arrives", N: int8(n), P: -1, Note: uint8(i)}, func() bool { c.deliver(n, i); return true })
		}
	}
	if nd.Down != 0 {
		c.try(at("its daemon answers again"), func() bool { c.t.N[n].Down = 0; return true })
	}
}

func (c *run) nodeFaults(n int) {
	at := func(what string) Act { return Act{What: what, N: int8(n), P: -1} }
	nd := &c.from.N[n]
	c.fault(fHostinfo, at("hostinfod is killed and started"), func() bool {
		m := &c.t.N[n]
		m.HI, m.HAt = 0, At{}
		return true
	})
	c.fault(fReboot, at("the machine boots"), func() bool { c.reboot(n); return true })
	c.fault(fDies, at("the machine dies for ever"), func() bool { c.die(n); return true })
	c.fault(fSilence, at("is silent for too long"), func() bool { return c.silence(n) })
	c.fault(fDaemon, at("bob's daemon does not answer"), func() bool {
		c.t.N[n].Down = 2
		return nd.Down == 0
	})
	c.fault(fDrain, at("is drained"), func() bool {
		c.t.N[n].Drain = 1 - nd.Drain
		for r := range c.cfg.replicas() {
			c.rollOut(r)
		}
		return true
	})
	c.fault(fGiveUp, at("is given up"), func() bool {
		m := &c.t.N[n]
		m.Given, m.Reg = 1, 0
		if !c.bad.givenUpUntold {
			m.Again = 1 // its link is closed
		}
		c.durable()
		for p := range c.cfg.places() {
			if int(c.t.D.Recs[p].Bound.N) == n+1 {
				c.lose(n, p)
			}
		}
		return nd.Given == 0
	})
}

func (c *run) die(n int) {
	nd := &c.t.N[n]
	c.t.N[n] = Node{Dead: 1, Sess: nd.Sess, Saved: nd.Saved, Drain: nd.Drain, Given: nd.Given, Reg: nd.Reg, Listed: nd.Listed, Lost: nd.Lost, LAt: nd.LAt, LC: nd.LC, LDown: nd.LDown, Susp: nd.Susp}
}

func offerOf(c *run, p int) placement.Offer {
	return placement.Offer{ID: c.w.place[p], Request: c.request(p)}
}
