package model

import "math/rand/v2"

// Walk goes on from a state at random, without faults, until what is wished is
// what runs. Whatever may happen happens sooner or later on such a walk. It
// says what is still wrong after so many steps; "": nothing.
func Walk(cfg Config, breaks func(*Rules, *Misread), s State, steps int, rand *rand.Rand) string {
	c := newRun(&cfg, breaks)
	s.Left = [faults]uint8{}
	s.Stale = Stale{}
	c.canon(&s)
	wrong := c.wrong(&s)
	var chosen State
	for range steps {
		if wrong == "" {
			return ""
		}
		seen := 0
		broken := ""
		c.out = func(Act) {
			if c.broken != "" {
				broken = c.broken
			}
			seen++
			if rand.IntN(seen) == 0 {
				chosen = c.t
			}
		}
		c.successors(&s)
		if broken != "" {
			return broken
		}
		if seen == 0 {
			return "nothing can happen any more: " + wrong
		}
		s = chosen
		c.canon(&s)
		wrong = c.wrong(&s)
	}
	return wrong + "\n        " + c.tell(&s)
}

// wrong says what is not as it is wished.
func (c *run) wrong(s *State) string {
	if s.HoldOn == 1 {
		return "the ledger holds"
	}
	for r := range c.cfg.replicas() {
		m := s.D.Repl[r]
		if m.Wish != 0 && m.Wanted == 0 && m.Ended == 0 && c.hasUnused(s, r) {
			return "a wished replica has no life"
		}
	}
	for p := range c.cfg.places() {
		if why := c.wrongPlace(s, p); why != "" {
			return why
		}
	}
	return ""
}

func (c *run) hasUnused(s *State, r int) bool {
	c.t.Used = s.Used
	return c.unused(r) >= 0
}

func (c *run) wrongPlace(s *State, p int) string {
	rec := s.D.Recs[p]
	wanted := int(s.D.Repl[c.cfg.Replica[p]].Wanted) == p+1
	runs := 0
	for n := range c.cfg.Nodes {
		nd := &s.N[n]
		k := nd.C[p]
		mine := rec.live() && rec.Bound.is(n, k.E)
		switch {
		case nd.Dead == 1:
		case k.State == up && mine:
			runs++
		case k.State == up:
			return "a copy runs that is not bound"
		case k.State == exited && nd.T[p].PC == idle && k.Done == 0:
			return "a copy has ended and nobody asked"
		}
	}
	switch rec.State {
	case bound:
		return "a copy is bound and was not seen"
	case running:
		if runs != 1 {
			return "a copy counts as running and does not"
		}
	case pending:
		if wanted && c.hasPlace(s) {
			return "a placement waits"
		}
	case cancelled:
		return "a removed placement is not gone"
	case done:
		if rec.Bound.N != 0 {
			return "a stopped copy is not gone"
		}
	}
	return ""
}

// hasPlace tells whether a node could take what waits.
func (c *run) hasPlace(s *State) bool {
	if c.cfg.Draws {
		return false
	}
	for n := range c.cfg.Nodes {
		nd := &s.N[n]
		if nd.Dead == 0 && nd.Drain == 0 {
			return true
		}
	}
	return false
}
