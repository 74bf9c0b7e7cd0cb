package model

import "longshore/internal/placement"

// ledgerSteps are what happens to the ledger itself.
func (c *run) ledgerSteps() {
	at := func(what string) Act { return Act{What: what, N: -1, P: -1} }
	s := c.from
	for random := range uint16(2) {
		if random == 1 && (!c.cfg.Marks || s.Hist == 1) {
			break
		}
		c.fault(fRestart, Act{What: "the ledger is killed and started", N: -1, P: -1, Note: uint8(random)}, func() bool {
			c.restart(c.random(random), false, placement.Mark{})
			return true
		})
	}
	c.fault(fSave, at("the ledger's file is copied"), func() bool { c.save(); return true })
	for i := range s.NSaved {
		for random := range uint16(2) {
			c.fault(fRestore, Act{What: "the copy of the file is put back, and the ledger started", N: -1, P: -1, Note: i<<1 | uint8(random)}, func() bool {
				if c.t.Saved[i].NStart == 0 {
					return false
				}
				c.t.Hist++ // for the random part
				r := c.random(random)
				c.t.Hist--
				c.restore(int(i), r)
				return true
			})
		}
	}
	if s.HoldOn == 1 {
		c.cutHold()
	}
	if s.Stale.On != 0 {
		c.try(at("the second client writes"), func() bool { c.write(); return true })
	}
}

// cutHold ends a hold by time. What it still waited for is silent. A machine
// that is dead is waited for no longer than that.
func (c *run) cutHold() {
	cut := func() bool {
		for n := range c.cfg.Nodes {
			if !c.missing(n) {
				continue
			}
			for p := range c.cfg.places() {
				if k := c.t.N[n].C[p]; k.State != none {
					c.t.N[n].Susp[p] = k.E
				}
			}
		}
		c.release()
		return true
	}
	a := Act{What: "the hold has lasted long enough", N: -1, P: -1}
	c.fault(fHoldCut, a, cut)
	for n := range c.cfg.Nodes {
		if c.from.N[n].Dead == 0 {
			c.t = *c.from
			if c.missing(n) {
				return
			}
		}
	}
	c.try(a, cut)
}

// placeFaults are what befalls one placement's record.
func (c *run) placeFaults(p int) {
	at := func(what string) Act { return Act{What: what, N: -1, P: int8(p)} }
	r := c.from.D.Recs[p]
	if r.State == unborn || r.State == buried {
		return
	}
	if r.State == bound && c.from.HoldOn == 0 {
		c.fault(fLate, at("its start was not seen in time"), func() bool { c.lose(int(r.Bound.N)-1, p); return true })
	}
	c.fault(fExpire, at("its deadline passes"), func() bool { return c.change(p, c.rules.Expire) })
	c.fault(fDie, at("no node can ever run it"), func() bool { return c.change(p, c.rules.Die) })
	if int(c.from.D.Repl[c.cfg.Replica[p]].Wanted) != p+1 {
		return
	}
	c.fault(fStop, at("somebody stops it"), func() bool { return c.wishStop(p) })
	c.fault(fStart, at("somebody starts it"), func() bool { return c.wishStart(p, c.rules.Start) })
	c.fault(fRetry, at("somebody retries it"), func() bool { return c.wishStart(p, c.rules.Retry) })
}

// ownerSteps change what is wished of a replica.
func (c *run) ownerSteps(r int) {
	at := func(what string) Act { return Act{What: what, N: -1, P: int8(c.cfg.first(r))} }
	m := c.from.D.Repl[r]
	c.t = *c.from
	more := c.unused(r) >= 0
	if m.Wish != 0 {
		c.fault(fRemove, at("its app is removed"), func() bool { c.removeApp(r); return true })
		c.fault(fDestroy, at("somebody destroys it"), func() bool { return c.t.HoldAl == 0 && c.destroy(r) })
	}
	if !more {
		return
	}
	if m.Wish != 0 {
		c.fault(fRevive, at("somebody brings it back"), func() bool { return c.t.HoldAl == 0 && c.revive(r) })
	}
	c.fault(fSubmit, at("its app is submitted, changed"), func() bool { c.submit(r); return true })
	if c.from.Stale.On == 0 {
		c.fault(fSubmitTwo, at("a second client reads its app"), func() bool { c.read(r); return true })
	}
}
