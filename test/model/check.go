package model

import "math/bits"

func (c *run) violate(what string) {
	if c.broken == "" {
		c.broken = what
	}
}

func (c *run) copyRuns(n, p int, e uint8) bool {
	k := c.t.N[n].C[p]
	return k.State == up && k.E == e
}

// spare checks a stop that is about to be carried out, on the word of a ledger
// of the given history: nobody's innocent.
func (c *run) spare(n, p int, hist uint8) {
	t := &c.t
	k, rec := t.N[n].C[p], t.D.Recs[p]
	if hist != t.Hist {
		return // the word of a history that is lost
	}
	if rec.live() && rec.Bound.is(n, k.E) {
		c.violate("the bound copy was stopped")
	}
	wanted := rec.State == pending || rec.State == dead && rec.Expired == 0
	if wanted && t.N[n].Susp[p] != k.E && !c.cfg.Token {
		c.violate("the only copy was stopped, and nothing was wrong with it")
	}
	if rec.State == unborn {
		c.violate("a copy that the ledger does not know was stopped")
	}
}

// spareAdoptable checks a stop order as it is given: what may be adopted is.
func (c *run) spareAdoptable(n, p int, s Shown, domain uint8) {
	rec := c.t.D.Recs[p]
	if s.State != up || !rec.Last.is(n, s.E) || rec.State != pending && (rec.State != dead || rec.Expired == 1) {
		return
	}
	if _, free := c.slot(domain).Free(c.w.place[p]); domain == 0 || free {
		c.violate("a copy that could be adopted was ordered to stop")
	}
}

// check looks at a state after a transition.
func (c *run) check(from *State) {
	c.checkEpochs(from)
	for p := range c.cfg.places() {
		c.checkCopies(p)
	}
	for r := range c.cfg.replicas() {
		c.checkLives(r)
	}
	if c.cfg.Token {
		c.checkToken()
	}
	c.checkRoom()
}

// checkEpochs: epochs never fall, none is given twice, and what was removed is
// never bound again, as long as it is the same history.
func (c *run) checkEpochs(from *State) {
	t := &c.t
	if from.Hist != t.Hist {
		return
	}
	for p := range c.cfg.places() {
		was, now := from.D.Recs[p], t.D.Recs[p]
		if was.State == unborn {
			continue
		}
		if now.E < was.E {
			c.violate("an epoch fell")
		}
		ended := was.State == cancelled || was.State == buried
		if ended && now.State != cancelled && now.State != buried {
			c.violate("a removed placement came back")
		}
		if was.live() && now.State == pending && now.E <= was.Bound.E {
			c.violate("the epoch of the next offer is not above the one that was bound")
		}
		if was.State == done && was.By == 1 && was.Again == 0 && now.live() {
			c.violate("a stopped placement was bound")
		}
	}
}

// checkCopies: never two in one epoch; of two that run, one has its silence on
// record.
func (c *run) checkCopies(p int) {
	var innocent int
	for n := range c.cfg.Nodes {
		nd := &c.t.N[n]
		if nd.C[p].State != up {
			continue
		}
		innocent += int(bit(nd.Susp[p] != nd.C[p].E))
		for m := range n {
			if k := c.t.N[m].C[p]; k.State == up && k.E == nd.C[p].E {
				c.violate("two copies run in one epoch")
			}
		}
	}
	if innocent > 1 {
		c.violate("two copies run, and nobody was silent")
	}
}

// checkLives: of the lives of one replica one runs.
func (c *run) checkLives(r int) {
	var live, innocent int
	for p := range c.cfg.places() {
		if c.cfg.Replica[p] != r {
			continue
		}
		live += int(bit(c.t.D.Recs[p].live()))
		for n := range c.cfg.Nodes {
			nd := &c.t.N[n]
			innocent += int(bit(nd.C[p].State == up && nd.Susp[p] != nd.C[p].E))
		}
	}
	if live > 1 {
		c.violate("two lives of one replica are bound")
	}
	if innocent > 1 {
		c.violate("two lives of one replica run, and nobody was silent")
	}
}

// checkToken: two replicas of a token are never bound in one domain, nor do
// they run there unless one was silent.
func (c *run) checkToken() {
	t := &c.t
	for n := range c.cfg.Nodes {
		domain := c.cfg.Domain[n]
		var held, here uint8
		for p := range c.cfg.places() {
			rec := t.D.Recs[p]
			if rec.live() && c.cfg.Domain[rec.Bound.N-1] == domain {
				held |= 1 << c.cfg.Replica[p]
			}
			for m := range c.cfg.Nodes {
				k := t.N[m].C[p]
				if c.cfg.Domain[m] == domain && k.State == up && t.N[m].Susp[p] != k.E {
					here |= 1 << c.cfg.Replica[p]
				}
			}
		}
		if bits.OnesCount8(held) > 1 {
			c.violate("two replicas of a token are bound in one domain")
		}
		if bits.OnesCount8(here) > 1 && t.Hist == 1 {
			c.violate("two replicas of a token run in one domain, and nobody was silent")
		}
	}
}

// checkRoom: no node has more than it has room for.
func (c *run) checkRoom() {
	if c.cfg.Room == 0 {
		return
	}
	for n := range c.cfg.Nodes {
		copies := 0
		for p := range c.cfg.places() {
			copies += int(bit(c.t.N[n].C[p].State != none))
		}
		if copies > c.cfg.Room {
			c.violate("a node has more than it has room for")
		}
	}
}
