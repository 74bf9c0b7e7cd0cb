package model

import (
	"math/bits"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// meta is the ledger's own record as the rules take it.
func (c *run) meta() rule.Meta {
	d := &c.t.D
	m := rule.Meta{V: placement.Format, Gen: uint64(d.Gen), Hold: d.Hold == 1}
	for _, s := range d.Starts[:d.NStart] {
		m.Starts = append(m.Starts, rule.StartAt{Start: productStart(s.Start), First: uint64(s.First)})
	}
	return m
}

func (c *run) setMeta(m rule.Meta) {
	d := &c.t.D
	d.Gen, d.Hold, d.NStart = uint8(m.Gen), bit(m.Hold), 0
	d.Starts = [maxStarts]Start{}
	starts := m.Starts
	if !c.cfg.Marks || len(starts) > maxStarts {
		starts = starts[max(0, len(starts)-c.keptStarts()):]
	}
	for _, s := range starts {
		first := uint8(s.First)
		if !c.cfg.Marks {
			first = 0
		}
		d.Starts[d.NStart] = Start{modelStart(s.Start), first}
		d.NStart++
	}
}

// keptStarts is how many starts a state needs: without marks nobody shows an
// older one.
func (c *run) keptStarts() int {
	if c.cfg.Marks {
		return maxStarts
	}
	return 1
}

func (m Mark) product() placement.Mark {
	return placement.Mark{Gen: uint64(m.Gen), Start: productStart(m.Start), Rev: uint64(m.Rev)}
}

// restart begins a start of the ledger: what it had in memory is gone.
func (c *run) restart(random uint16, renew bool, shown placement.Mark) {
	t := &c.t
	if c.bad.startNotRandom {
		random = 0
	}
	c.setMeta(c.rules.Begin(c.meta(), random, uint64(t.D.Rev)+1, renew, shown))
	c.durable()
	t.HoldOn, t.HoldAl = 1, t.D.Hold
	known := false
	for n := range c.cfg.Nodes {
		known = known || t.N[n].Sess > 0 && t.N[n].Given == 0
	}
	if shown.Start != 0 && !known {
		t.D.Expect = 1
	}
	for n := range c.cfg.Nodes {
		nd := &t.N[n]
		nd.Reg, nd.Listed, nd.Lost, nd.LAt, nd.LC, nd.LDown = 0, 0, 0, At{}, [maxPlaces]Shown{}, 0
	}
	if c.bad.noStartHold && t.D.Hold == 0 {
		t.HoldOn = 0
	}
	for p := range c.cfg.places() {
		if t.D.Recs[p].State == unborn || t.D.Recs[p].State == buried || c.bad.epochPerPlacement {
			continue
		}
		if r, ok := c.rules.Renew(c.product(p), c.next(p)); ok {
			c.model(p, r)
			c.durable()
		}
	}
	c.endHold()
}

// missing tells whether the hold waits for a node.
func (c *run) missing(n int) bool {
	nd := &c.t.N[n]
	known := nd.Sess > 0 && nd.Given == 0
	return known && (nd.Reg == 0 || nd.Listed == 0 && !c.bad.registeredIsKnown)
}

// endHold ends the hold if every known node has spoken.
func (c *run) endHold() {
	if c.t.D.Expect == 1 {
		return // it lasts as long as it may
	}
	for n := range c.cfg.Nodes {
		if c.missing(n) {
			return
		}
	}
	c.release()
}

// release ends the hold, and after a change of the generation first makes the
// records agree with what runs.
func (c *run) release() {
	t := &c.t
	if t.HoldOn == 0 {
		return
	}
	if t.HoldAl == 1 {
		if !c.bad.noTakeIn {
			c.takeIn()
		}
		c.reclaim()
	}
	t.HoldOn, t.HoldAl, t.D.Hold, t.D.Expect = 0, 0, 0, 0
	c.durable()
	for n := range c.cfg.Nodes {
		t.N[n].LAt, t.N[n].LC, t.N[n].LDown = At{}, [maxPlaces]Shown{}, 0
	}
	for r := range c.cfg.replicas() {
		c.rollOut(r)
	}
}

// inventory is what nodes listed under this start of one placement: the copy
// to keep, and whether a copy is there in any form.
func (c *run) inventory(p int) (best Holder, state uint8, present func(Holder) bool) {
	for n := range c.cfg.Nodes {
		nd := &c.t.N[n]
		s := nd.LC[p]
		if nd.Reg == 0 || nd.Listed == 0 || nd.LAt.S == 0 || s.State == none {
			continue
		}
		better := best.N == 0 || s.E > best.E != c.bad.notHighest
		if x, y := s.State == up, state == up; x != y {
			better = x
		}
		if best.N == 0 || better {
			best, state = Holder{uint8(n + 1), s.E, nd.LAt}, s.State
		}
	}
	return best, state, func(h Holder) bool {
		nd := &c.t.N[h.N-1]
		return nd.Reg == 1 && nd.Listed == 1 && nd.LAt.S != 0 && nd.LC[p].State != none && nd.LC[p].E == h.E
	}
}

// takeIn makes records of what nodes list and the ledger does not know.
func (c *run) takeIn() {
	d := &c.t.D
	for r := range c.cfg.replicas() {
		var found []rule.Found
		for p := range c.cfg.places() {
			h, state, _ := c.inventory(p)
			strange := startOf(h.E) >= d.start()
			if c.cfg.Replica[p] != r || d.Recs[p].State != unborn || h.N == 0 || strange {
				continue
			}
			id := c.w.place[p]
			found = append(found, rule.Found{
				ID: id, Request: c.request(p), Digest: c.w.digest[1+p], Holder: *c.w.productHolder(h), Next: c.next(p),
				Copy: placement.Copy{ID: id, Epoch: c.w.epoch[h.E], State: copyStates[state]},
			})
		}
		if len(found) > 0 {
			c.takeInReplica(r, found)
		}
	}
}

func (c *run) takeInReplica(r int, found []rule.Found) {
	d := &c.t.D
	next, records, replaced := c.rules.TakeIn(c.replicaRec(r), found)
	if replaced != "" {
		next = c.cancelIn(next, c.lifeIndex(replaced))
	}
	for _, rec := range records {
		p := c.placeIndex(rec.ID)
		c.model(p, rec)
		d.Recs[p].Born, d.Recs[p].Digest = startOf(c.w.modelEpoch(rec.Epoch)), uint8(1+p)
		c.durable()
	}
	c.setReplica(r, next)
	if w := d.Repl[r].Wanted; w != 0 && w > d.Repl[r].Since { // Rewish: begun for a later wish than the one known
		d.Repl[r].Wish, d.Repl[r].Since = d.Recs[w-1].Digest, w-1
	}
}

// reclaim puts back what no listing confirms, then adopts what runs.
func (c *run) reclaim() {
	for p := range c.cfg.places() {
		c.unconfirm(p)
	}
	for p := range c.cfg.places() {
		h, state, _ := c.inventory(p)
		rec := c.t.D.Recs[p]
		if state != up || rec.State == unborn || rec.State == buried {
			continue
		}
		if rec.live() && rec.Bound.is(int(h.N)-1, h.E) {
			c.innocent(p, h)
			continue
		}
		domain := c.domainOf(int(h.N) - 1)
		next, slot, ok := c.rules.Reclaim(c.product(p), c.slot(domain), c.slotKey(domain), *c.w.productHolder(h))
		if ok {
			c.put(p, next, domain, slot)
			c.innocent(p, h)
		}
	}
	for n := range c.cfg.Nodes { // what has not started when the hold ends, but will
		for p := range c.cfg.places() {
			nd := &c.t.N[n]
			kept := c.t.D.Recs[p].live() && c.t.D.Recs[p].Bound.is(n, nd.C[p].E)
			if s := nd.LC[p]; nd.Listed == 1 && s.State != up && s.State != none && s.E == nd.C[p].E && !kept {
				nd.Susp[p] = s.E
			}
		}
	}
}

// innocent: a copy that is bound again may run beside no other.
func (c *run) innocent(p int, h Holder) {
	if nd := &c.t.N[h.N-1]; nd.Susp[p] == h.E {
		nd.Susp[p] = 0
	}
}

func (c *run) unconfirm(p int) {
	rec := c.t.D.Recs[p]
	if rec.Bound.N == 0 {
		return
	}
	h, state, present := c.inventory(p)
	leaving := !rec.live()
	if present(rec.Bound) && (state != up || rec.Bound.is(int(h.N)-1, h.E) || leaving) {
		return
	}
	n := int(rec.Bound.N) - 1
	nd := &c.t.N[n]
	mute := nd.LDown>>c.cfg.Owner[c.cfg.Replica[p]]&1 == 1 && !c.bad.muteIsEmpty
	listed := nd.Reg == 1 && nd.Listed == 1 && nd.LAt.S != 0 && !mute
	next, slot, o := c.rules.Unconfirmed(c.product(p), c.slot(rec.Slot), listed, c.next(p))
	switch {
	case o == rule.Nothing:
	case !listed:
		c.t.N[n].Susp[p] = rec.Bound.E
	case nd.LC[p] == (Shown{}) && c.copyRuns(n, p, rec.Bound.E):
		c.violate("a copy that runs was taken for gone at the end of a hold")
	}
	c.settle(p, next, rec.Slot, slot, o)
}

// register is the ledger's side of a registration. random is that of the start
// which it may prove to be needed.
func (c *run) register(n int, shown At, mark Mark, random uint16) uint8 {
	t := &c.t
	if c.cfg.Marks {
		if _, back := c.rules.RolledBack(c.meta(), uint64(t.D.Rev), mark.product()); back {
			c.restart(random, true, mark.product())
		}
	}
	nd := &t.N[n]
	if c.bad.sessionRolledBack {
		shown.S = 0
	}
	nd.Sess = max(nd.Sess, shown.S) + 1
	nd.Reg, nd.Lost, nd.Given = 1, 0, 0
	c.durable()
	c.endHold()
	return nd.Sess
}

// save copies the ledger's file; restore puts the copy back and starts it.
func (c *run) save() {
	t := &c.t
	t.Saved[t.NSaved] = t.D
	for n := range c.cfg.Nodes {
		t.N[n].Saved[t.NSaved] = t.N[n].Sess
	}
	t.NSaved++
}

func (c *run) restore(i int, random uint16) {
	t := &c.t
	t.D = t.Saved[i]
	for n := range c.cfg.Nodes {
		nd := &t.N[n]
		nd.Sess, nd.Drain, nd.Given = nd.Saved[i], 0, 0
	}
	t.Hist++
	c.forget(i)
	c.restart(random, false, placement.Mark{})
}

// forget drops a copy that will not be put back again.
func (c *run) forget(i int) {
	t := &c.t
	if t.Left[fRestore] > 0 {
		return
	}
	t.Saved[i] = Durable{}
	for n := range c.cfg.Nodes {
		t.N[n].Saved[i] = 0
	}
}

func (c *run) placeIndex(id placement.ID) int {
	for p, name := range c.w.place {
		if name == id {
			return p
		}
	}
	panic("the model does not know placement " + string(id))
}

func (c *run) lifeIndex(k placement.Life) int {
	for p, life := range c.w.life {
		if life == k {
			return p
		}
	}
	panic("the model does not know life " + string(k))
}

// replicaRec is a replica as the rules take it.
func (c *run) replicaRec(r int) rule.Replica {
	m := &c.t.D.Repl[r]
	out := rule.Replica{V: placement.Format, Replica: c.cfg.replicaOf(r)}
	for b := m.Lives; b != 0; b &= b - 1 {
		out.Lives = append(out.Lives, c.w.life[bits.TrailingZeros8(b)])
	}
	if m.Wanted != 0 {
		out.Wanted = c.w.life[m.Wanted-1]
	}
	if m.Ended != 0 {
		out.Ended = &rule.Ended{By: "someone", Digest: c.w.digest[m.Ended]}
	}
	return out
}

func (c *run) setReplica(r int, rec rule.Replica) {
	m := &c.t.D.Repl[r]
	m.Lives, m.Wanted, m.Ended = 0, 0, 0
	for _, k := range rec.Lives {
		m.Lives |= 1 << c.lifeIndex(k)
	}
	if rec.Wanted != "" {
		m.Wanted = uint8(c.lifeIndex(rec.Wanted)) + 1
	}
	if rec.Ended != nil {
		m.Ended = rec.Ended.Digest[1] - '0'
	}
	c.durable()
}
