package model

import (
	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// app is the app that wishes a replica, and the digests of its services.
func (c *run) app(r int) (rule.App, []string) {
	m := &c.t.D.Repl[r]
	name := c.cfg.replicaOf(r)
	a := rule.App{V: placement.Format, Owner: name.Owner(), Name: name.App(), Removed: m.Wish == 0}
	if a.Removed {
		return a, nil
	}
	a.Wish = placement.App{Services: []placement.Service{{Name: name.Service(), Replicas: 1}}}
	return a, []string{c.w.digest[m.Wish]}
}

func (c *run) standing(r int) rule.Standing {
	s := rule.Standing{Replica: c.replicaRec(r)}
	if w := c.t.D.Repl[r].Wanted; w != 0 && c.t.D.Recs[w-1].State != buried && c.t.D.Recs[w-1].State != unborn {
		rec := c.product(int(w - 1))
		s.Wanted = &rec
		b := c.t.D.Recs[w-1].Bound
		s.Moves = b.N != 0 && c.t.N[b.N-1].Drain == 1 && c.unused(r) >= 0
	}
	return s
}

// rollOut brings a replica to what its app wishes.
func (c *run) rollOut(r int) {
	if c.t.HoldAl == 1 {
		return
	}
	app, sums := c.app(r)
	s := c.standing(r)
	steps, _ := c.rules.Rollout(app, sums, []rule.Standing{s})
	for _, step := range steps {
		c.step(r, step)
	}
}

// step does one thing for one replica.
func (c *run) step(r int, step rule.Step) {
	t := &c.t
	replica := c.replicaRec(r)
	if w := t.D.Repl[r].Wanted; step.Cancel && w != 0 {
		replica = c.cancelIn(replica, int(w-1))
	}
	if step.Lift || step.Ended != nil {
		replica.Ended = step.Ended
	}
	if p := c.unused(r); step.Begin && p >= 0 {
		replica = replica.With(c.w.life[p])
		t.Used |= 1 << p
		t.D.Recs[p] = Rec{State: pending, E: t.D.start() << counterBits, Born: t.D.start(), Digest: t.D.Repl[r].Wish}
	}
	c.setReplica(r, replica)
}

// unused is a placement that no history has begun; -1: there is none.
func (c *run) unused(r int) int {
	for p := range c.cfg.places() {
		if c.cfg.Replica[p] == r && c.t.Used>>p&1 == 0 {
			return p
		}
	}
	return -1
}

// cancelIn cancels a life of a replica.
func (c *run) cancelIn(replica rule.Replica, p int) rule.Replica {
	rec := c.t.D.Recs[p]
	next, slot, o := c.rules.Cancel(c.product(p), c.slot(rec.Slot), "removed", c.away(p))
	if o == rule.Gone {
		for _, h := range []Holder{rec.Bound, rec.Last} {
			if h.N != 0 && c.away(p)(c.w.node[h.N-1]) {
				c.t.N[h.N-1].Susp[p] = h.E
			}
		}
		c.setSlot(rec.Slot, slot)
		c.bury(p)
		c.follow(p, rec)
		return replica.Without(c.w.life[p])
	}
	c.put(p, next, rec.Slot, slot)
	if replica.Wanted == c.w.life[p] {
		replica.Wanted = ""
	}
	return replica
}

// removeApp and submit change what an app wishes.
func (c *run) removeApp(r int) {
	m := &c.t.D.Repl[r]
	m.Wish, m.Since = 0, c.lastUsed()
	c.durable()
	c.rollOut(r)
}

func (c *run) submit(r int) {
	m := &c.t.D.Repl[r]
	m.Wishes++
	m.Wish, m.Since = uint8(1+c.unused(r)), c.lastUsed()
	c.durable()
	c.rollOut(r)
}

// lastUsed is 1 + the newest placement.
func (c *run) lastUsed() uint8 {
	for p := maxPlaces - 1; p >= 0; p-- {
		if c.t.Used>>p&1 == 1 {
			return uint8(p + 1)
		}
	}
	return 0
}

// read and write are a second client's submit, in two steps: what it read is
// compared when it writes.
func (c *run) read(r int) {
	m := c.t.D.Repl[r]
	c.t.Stale = Stale{On: uint8(r + 1), Repl: m}
	if m.Wanted != 0 {
		c.t.Stale.Rec = c.t.D.Recs[m.Wanted-1]
	}
}

func (c *run) write() {
	t := &c.t
	old, r := t.Stale, int(t.Stale.On-1)
	t.Stale = Stale{}
	now := t.D.Repl[r]
	if c.bad.notCompared {
		t.D.Repl[r] = old.Repl
		if w := old.Repl.Wanted; w != 0 {
			t.D.Recs[w-1] = old.Rec
		}
		t.D.Repl[r].Wishes = now.Wishes
	} else if now != old.Repl || now.Wanted != 0 && t.D.Recs[now.Wanted-1] != old.Rec {
		return // it tries again, and that is a submit like any other
	}
	c.submit(r)
}

func (c *run) wishStop(p int) bool {
	rec := c.t.D.Recs[p]
	next, slot, changed := c.rules.Stop(c.product(p), c.slot(rec.Slot), "someone", c.away(p))
	if !changed {
		return false
	}
	for _, h := range []Holder{rec.Bound, rec.Last} {
		if next.Bound == nil && h.N != 0 && c.away(p)(c.w.node[h.N-1]) {
			c.t.N[h.N-1].Susp[p] = h.E
		}
	}
	c.put(p, next, rec.Slot, slot)
	return true
}

func (c *run) wishStart(p int, apply func(record, placement.Epoch) (record, bool)) bool {
	next, changed := apply(c.product(p), c.next(p))
	if changed {
		domain := c.t.D.Recs[p].Slot
		c.put(p, next, domain, c.slot(domain))
	}
	return changed
}

// change applies a rule that has no slot and no epoch.
func (c *run) change(p int, apply func(record, string) (record, bool)) bool {
	next, changed := apply(c.product(p), "a reason")
	if changed {
		domain := c.t.D.Recs[p].Slot
		c.put(p, next, domain, c.slot(domain))
	}
	return changed
}

// destroy ends a replica that its app wishes.
func (c *run) destroy(r int) bool {
	_, sums := c.app(r)
	if len(sums) == 0 {
		return false
	}
	step, ok := rule.Destroy(c.standing(r), "someone", sums[0])
	if ok {
		c.step(r, step)
	}
	return ok
}

func (c *run) revive(r int) bool {
	_, sums := c.app(r)
	if len(sums) == 0 || c.unused(r) < 0 {
		return false
	}
	step, ok := rule.Revive(c.standing(r), 0, sums[0])
	if ok {
		c.step(r, step)
	}
	return ok
}
