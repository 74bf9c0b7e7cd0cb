package model

import "longshore/agent"

// stepOp counts a change, and stores it in the file.
func (nd *Node) stepOp() {
	if nd.Cur.S == 0 {
		return
	}
	nd.Cur.O++
	nd.File = nd.Cur
}

// admits asks the product whether the node has room, where that is bounded.
func (c *run) admits(n, p int) bool {
	if c.cfg.Room == 0 {
		return true
	}
	s := agent.State{Node: c.w.node[n], Registered: true, MaxBusy: 9, Capacity: c.request(p).Needs}
	s.Capacity.CPU *= int64(c.cfg.Room)
	for q := range c.cfg.places() {
		if nd := &c.t.N[n]; nd.C[q].State != none || nd.T[q].PC != idle {
			s.Holds = append(s.Holds, agent.Hold{ID: c.w.place[q], Request: c.request(q)})
		}
	}
	ok, _ := agent.Admit(s, offerOf(c, p))
	return ok
}

// prepare takes an offer and creates the container.
func (c *run) prepare(n, p int, e uint8) bool {
	nd := &c.t.N[n]
	if nd.RS == 0 || nd.C[p].State != none || nd.T[p].PC != idle || !c.admits(n, p) {
		return false
	}
	if !c.bad.opBeforeCreate {
		nd.C[p] = Cont{State: created, E: e}
	}
	nd.T[p] = Task{PC: made, E: e}
	nd.stepOp()
	if c.bad.judgeThemselves {
		c.judge(n, p, e)
	}
	return true
}

// judge is a defect: nodes that hear of an epoch remove what is older.
func (c *run) judge(n, p int, e uint8) {
	for m := range c.cfg.Nodes {
		if nd := &c.t.N[m]; m != n && nd.C[p].State == up && nd.C[p].E <= e {
			nd.T[p] = Task{PC: removing, E: nd.C[p].E, Grace: 1, Hist: c.t.Hist}
		}
	}
}

// offered is the epoch that an offer of a placement carries now; 0: none.
func (c *run) offered(n, p int) uint8 {
	t := &c.t
	r := t.D.Recs[p]
	repl := t.D.Repl[c.cfg.Replica[p]]
	if r.State != pending || c.holds(p) || repl.Lives != 0 && c.rules.Blocked(c.replicaRec(c.cfg.Replica[p]), c.w.life[p]) {
		return 0
	}
	if h := int(r.Home) - 1; h >= 0 && h != n && t.N[h].Drain == 0 && !c.away(p)(c.w.node[h]) {
		return 0
	}
	if m := t.N[n].Mark; t.D.Gen < m.Gen || t.D.start() != t.N[n].RSt {
		return 0 // refused: an older generation, or one to register with first
	}
	return r.E
}

// asks tells whether the agent has something to ask about a copy.
func (nd *Node) asks(p int) bool {
	k, t := nd.C[p], nd.T[p]
	if nd.RS == 0 {
		return false
	}
	switch t.PC {
	case made:
		return true
	case idle:
		return k.State == exited && k.Done == 0 || k.State == created && k.Maybe == 1
	case asked:
		return nd.Ans[p].Verdict == noAnswer && nd.Req[p][0].At != t.Q && nd.Req[p][1].At != t.Q
	}
	return false
}

// ask steps op, stores it and sends the bind. What is still under way of an
// older one stays so.
func (c *run) ask(n, p int) {
	nd := &c.t.N[n]
	k, t := nd.C[p], &nd.T[p]
	if t.PC == idle {
		*t = Task{E: k.E, Resume: 1}
	}
	if t.PC != made || !c.bad.opBeforeCreate {
		nd.stepOp()
	}
	t.PC, t.Q = asked, nd.Cur
	q := Req{Kind: 1, E: t.E, At: nd.Cur}
	if t.Resume == 1 && k.State == exited {
		q.Kind = 2
	}
	reqs := &nd.Req[p]
	switch {
	case reqs[0].Kind == 0:
		reqs[0] = q
	case reqs[1].Kind == 0:
		reqs[1] = q
	default:
		reqs[0], reqs[1] = reqs[1], q
	}
}

// counts tells whether an answer may be acted upon.
func (c *run) counts(n, p int) bool {
	nd := &c.t.N[n]
	t, a := nd.T[p], nd.Ans[p]
	if a.Verdict == noAnswer || t.PC != asked {
		return false
	}
	if c.bad.noNonce {
		return true
	}
	return a.At == t.Q && nd.RS == t.Q.S && a.Mark.Gen >= nd.Mark.Gen
}

// hearAnswer acts on an answer that counts.
func (c *run) hearAnswer(n, p int) bool {
	if !c.counts(n, p) {
		return false
	}
	nd := &c.t.N[n]
	a, t, k := nd.Ans[p], &nd.T[p], &nd.C[p]
	nd.Ans[p] = Ans{}
	nd.see(a.Mark)
	switch a.Verdict {
	case yes:
		if a.E != t.E {
			c.violate("a copy was started on an answer about another")
		}
		t.PC, t.Q = starting, At{}
	case stale:
		nd.Again = 1
		t.PC, t.Q = made, At{}
		if t.Resume == 1 {
			*t = Task{}
		}
	case doneFor:
		k.Done = 1
		*t = Task{}
	case no:
		t.Q, t.Hist = At{}, a.Hist
		t.PC, t.Grace = removing, t.Resume
	}
	return true
}

func (nd *Node) see(m Mark) {
	if m.Gen > nd.Mark.Gen || m.Gen == nd.Mark.Gen && (m.Start > nd.Mark.Start || m.Start == nd.Mark.Start && m.Rev > nd.Mark.Rev) {
		nd.Mark = m
	}
}

// startRuns: Docker carries the start out.
func (nd *Node) startRuns(p int) bool {
	k := &nd.C[p]
	if nd.T[p].PC != starting || k.State == none || k.State == up && nd.T[p].Resume == 0 {
		return false
	}
	k.State, k.Maybe, k.Hand = up, 0, 0
	nd.T[p].PC = started
	return true
}

// startRefused: Docker says no, or there is nothing to start.
func (c *run) startRefused(n, p int) bool {
	nd := &c.t.N[n]
	if nd.T[p].PC != starting {
		return false
	}
	nd.T[p].PC, nd.T[p].Fail, nd.T[p].Grace, nd.T[p].Hist = removing, 1, 0, 0
	return true
}

// startUnknown: no answer of Docker; the start may still happen.
func (c *run) startUnknown(n, p int) bool {
	nd := &c.t.N[n]
	if nd.T[p].PC != starting || nd.C[p].State == none {
		return false
	}
	nd.C[p].Hand, nd.C[p].Maybe = 1, 1
	if c.bad.unknownIsFailed {
		nd.Fail[p] = Fail{E: nd.T[p].E, At: nd.Cur}
	}
	nd.T[p] = Task{}
	return true
}

// handStarts: a start that dockerd had in its hands happens after all.
func (nd *Node) handStarts(p int) bool {
	k := &nd.C[p]
	if k.Hand == 0 || k.State != created && k.State != exited {
		return false
	}
	k.State, k.Hand, k.Maybe = up, 0, 0
	return true
}

// settled: op is stepped after a start or a removal.
func (nd *Node) settled(p int) bool {
	t := nd.T[p]
	switch t.PC {
	case started:
		nd.stepOp()
	case removed:
		nd.stepOp()
		if t.Fail == 1 && nd.Cur.S != 0 {
			nd.Fail[p] = Fail{E: t.E, At: nd.Cur}
		}
	default:
		return false
	}
	nd.T[p] = Task{}
	return true
}

// remove removes the task's copy; without grace one that runs stays.
func (c *run) remove(n, p int) bool {
	nd := &c.t.N[n]
	t, k := &nd.T[p], &nd.C[p]
	switch {
	case t.PC != removing:
		return false
	case k.State == up && t.Grace == 0:
		*t = Task{}
		return true
	}
	if k.State == up {
		c.spare(n, p, t.Hist)
	}
	*k = Cont{}
	t.PC = removed
	return true
}

// takeOrder carries a stop order out.
func (c *run) takeOrder(n, p int) bool {
	nd := &c.t.N[n]
	o, t, k := nd.Ord[p], &nd.T[p], nd.C[p]
	if o.E == 0 || nd.RS == 0 {
		return false
	}
	if o.Gen < nd.Mark.Gen {
		if !c.bad.oldGeneration {
			nd.Ord[p] = Order{}
			return true
		}
		o.Hist = c.t.Hist // the agent knows better
	}
	if o.Gen > nd.RGen || o.Gen == nd.RGen && o.Start > nd.RSt {
		nd.Ord[p], nd.Again = Order{}, 1
		return true
	}
	if t.PC >= starting {
		return false // it waits until that is through
	}
	nd.Ord[p] = Order{}
	if k.State == none || k.E != o.E && !c.bad.killByPlacement {
		return true
	}
	*t = Task{PC: removing, E: k.E, Grace: 1, Hist: o.Hist}
	return true
}

// registers tells whether the agent has to register.
func (nd *Node) registers(start uint8) bool {
	return nd.RS == 0 || nd.Again == 1 || nd.RSt != start
}

// sendRegister voids every answer and shows the ledger what it has.
func (c *run) sendRegister(n int, random uint16) {
	nd := &c.t.N[n]
	nd.RS, nd.Again = 0, 0
	for p := range c.cfg.places() {
		if pc := nd.T[p].PC; pc == made || pc == asked {
			nd.T[p] = Task{} // its created copy goes with the sweep
		}
	}
	nd.PS = c.register(n, nd.Cur, nd.Mark, random)
	nd.PMark = c.mark()
}

// registered takes the answer of a registration.
func (c *run) registered(n int) bool {
	nd := &c.t.N[n]
	if nd.PS == 0 {
		return false
	}
	s, m := nd.PS, nd.PMark
	nd.PS, nd.PMark = 0, Mark{}
	if m.Gen < nd.Mark.Gen || s <= nd.Cur.S && !c.bad.sessionRolledBack {
		return true
	}
	for p := range c.cfg.places() {
		if nd.C[p].State == created && nd.T[p].PC == idle && !c.bad.notSwept {
			nd.C[p] = Cont{}
		}
	}
	nd.see(m)
	nd.Cur = At{S: s}
	if !c.bad.fileKept {
		nd.File = nd.Cur
	}
	nd.RS, nd.RGen, nd.RSt = s, m.Gen, m.Start
	return true
}
