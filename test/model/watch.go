package model

// readOp: hostinfod reads the agent's op file, before it lists.
func (c *run) readOp(n int) bool {
	nd := &c.t.N[n]
	if nd.HI == 1 {
		return false
	}
	nd.HI, nd.HAt = 1, nd.File
	if c.bad.opAfterListing {
		nd.HC = c.shown(nd)
	}
	return true
}

// shown is what is there now.
func (c *run) shown(nd *Node) (all [maxPlaces]Shown) {
	for p := range c.cfg.places() {
		k := nd.C[p]
		listed := nd.Down>>c.cfg.Owner[c.cfg.Replica[p]]&1 == 0
		if listed && k.State != none && (k.State != created || !c.bad.createdIsAbsent) {
			all[p] = Shown{k.State, k.E}
		}
	}
	return all
}

// list makes a complete report of what is there now, and sends it. If too many
// are under way the oldest is lost.
func (c *run) list(n int) bool {
	nd := &c.t.N[n]
	if nd.HI == 0 {
		return false
	}
	r := Report{Kind: 1, At: nd.HAt, Down: nd.Down, C: c.shown(nd)}
	if c.bad.opAfterListing {
		r.At, r.C, nd.HC = nd.File, nd.HC, [maxPlaces]Shown{}
	}
	nd.HI = 0
	if !c.cfg.Events {
		nd.HAt = At{}
	}
	return c.send(nd, r)
}

func (c *run) send(nd *Node, r Report) bool {
	reps := &nd.Reps
	for i := range c.cfg.Reports {
		if reps[i].Kind == 0 {
			reps[i] = r
			return true
		}
	}
	copy(reps[:c.cfg.Reports], reps[1:c.cfg.Reports])
	reps[c.cfg.Reports-1] = r
	return true
}

// event reports one copy, as of the op that was read before the last listing.
func (c *run) event(n, p int) bool {
	nd := &c.t.N[n]
	k := nd.C[p]
	if k.State == none {
		return false
	}
	r := Report{Kind: 2, At: nd.HAt}
	r.C[p] = Shown{k.State, k.E}
	return c.send(nd, r)
}

// deliver hands the ledger a report. What is older comes too late from then
// on: (link, seq) orders them.
func (c *run) deliver(n, i int) {
	nd := &c.t.N[n]
	r := nd.Reps[i]
	from := i + 1
	if c.bad.reportsUnordered {
		copy(nd.Reps[i:], nd.Reps[i+1:])
		nd.Reps[maxReps-1] = Report{}
		from = 0
	}
	if from > 0 {
		k := copy(nd.Reps[:], nd.Reps[from:])
		for ; k < maxReps; k++ {
			nd.Reps[k] = Report{}
		}
	}
	c.report(n, r)
}
