package model

import (
	"fmt"
	"slices"
	"strings"
)

// story runs the steps to the violation again, from the start, and tells them.
func (s *search) story() []string {
	var path []uint32
	for n := s.parent; ; n = s.seen.parent(n) {
		path = append(path, n)
		if n == s.seen.parent(n) || len(path) > 1000 {
			break
		}
	}
	slices.Reverse(path)
	c := newRun(s.cfg, s.breaks)
	now := c.initial()
	first, _ := s.seen.number(printOf(pack(nil, &now)))
	if path[0] != first {
		path = append([]uint32{first}, path...)
	}
	lines := []string{"at first: " + c.tell(&now)}
	for i, want := range path[1:] {
		step, next, ok := s.stepTo(c, now, want)
		if !ok {
			return append(lines, "(the story cannot be told any further)")
		}
		now = next
		lines = append(lines, fmt.Sprintf("%2d. %s\n        %s", i+1, c.name(step), c.tell(&now)))
	}
	var last string
	c.out = func(a Act) {
		if c.broken != "" && last == "" {
			last = fmt.Sprintf("%2d. %s\n        %s\n    %s", len(path), c.name(a), c.tell(&c.t), c.broken)
		}
	}
	c.successors(&now)
	return append(lines, last)
}

func (s *search) stepTo(c *run, from State, want uint32) (step Act, next State, ok bool) {
	c.out = func(a Act) {
		if ok || c.broken != "" {
			return
		}
		t := c.t
		c.canon(&t)
		if n, found := s.seen.number(printOf(pack(nil, &t))); found && n == want {
			step, next, ok = a, t, true
		}
	}
	c.successors(&from)
	return step, next, ok
}

func (c *run) name(a Act) string {
	var who []string
	if a.N >= 0 {
		who = append(who, fmt.Sprintf("n%d", a.N))
	}
	if a.P >= 0 {
		who = append(who, string(rune('A'+c.cfg.Replica[a.P]))+fmt.Sprint(a.P))
	}
	return strings.TrimPrefix(strings.Join(who, " ")+": "+a.What, ": ")
}

var (
	stateNames = [...]string{"unborn", "PENDING", "BOUND", "RUNNING", "DONE", "DEAD", "CANCELLED", "buried"}
	contNames  = [...]string{"none", "created", "runs", "exited"}
	taskNames  = [...]string{"", "to ask", "asked", "starting", "started", "removing", "removed"}
)

func epochName(e uint8) string {
	if e == 0 {
		return "-"
	}
	return fmt.Sprintf("e%d.%d/%d", startOf(e)>>randomBits, startOf(e)&(1<<randomBits-1), e&maxCounter)
}

func (h Holder) String() string {
	if h.N == 0 {
		return "-"
	}
	return fmt.Sprintf("n%d %s (%d,%d)", h.N-1, epochName(h.E), h.At.S, h.At.O)
}

// tell is a state in a line or two.
func (c *run) tell(s *State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ledger g%d s%d.%d", s.D.Gen, s.D.start()>>randomBits, s.D.start()&(1<<randomBits-1))
	if s.HoldOn == 1 {
		fmt.Fprintf(&b, " HOLDS%s", map[uint8]string{1: " ALL"}[s.HoldAl])
	}
	for p := range c.cfg.places() {
		r := s.D.Recs[p]
		if r.State == unborn {
			continue
		}
		fmt.Fprintf(&b, "; %c%d %s %s bound %s last %s", 'A'+c.cfg.Replica[p], p, stateNames[r.State], epochName(r.E), r.Bound, r.Last)
		if r.Slot != 0 {
			fmt.Fprintf(&b, " slot %d", r.Slot-1)
		}
	}
	for n := range c.cfg.Nodes {
		nd := &s.N[n]
		fmt.Fprintf(&b, "\n        n%d session %d of %d, op %d file (%d,%d)", n, nd.RS, nd.Sess, nd.Cur.O, nd.File.S, nd.File.O)
		for p := range c.cfg.places() {
			c.tellCopy(&b, nd, p)
		}
		for _, r := range nd.Reps {
			if r.Kind != 0 {
				fmt.Fprintf(&b, "; report under way as of (%d,%d):", r.At.S, r.At.O)
				for p := range c.cfg.places() {
					fmt.Fprintf(&b, " %s %s", contNames[r.C[p].State], epochName(r.C[p].E))
				}
			}
		}
	}
	return b.String()
}

func (c *run) tellCopy(b *strings.Builder, nd *Node, p int) {
	k, t := nd.C[p], nd.T[p]
	if k.State != none {
		fmt.Fprintf(b, "; %c%d %s %s", 'A'+c.cfg.Replica[p], p, contNames[k.State], epochName(k.E))
		if nd.Susp[p] == k.E {
			b.WriteString(" (silent once)")
		}
		if k.Hand == 1 {
			b.WriteString(" (start in dockerd's hands)")
		}
	}
	if t.PC != idle {
		fmt.Fprintf(b, "; %s %s", taskNames[t.PC], epochName(t.E))
	}
	for _, q := range nd.Req[p] {
		if q.Kind != 0 {
			fmt.Fprintf(b, "; bind under way %s (%d,%d)", epochName(q.E), q.At.S, q.At.O)
		}
	}
	if o := nd.Ord[p]; o.E != 0 {
		fmt.Fprintf(b, "; stop order %s", epochName(o.E))
	}
}
