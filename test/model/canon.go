package model

import (
	"bytes"
	"math/bits"
	"unsafe"
)

const (
	stateBytes = int(unsafe.Sizeof(State{}))
	nodeBytes  = int(unsafe.Sizeof(Node{}))
)

func (s *State) raw() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(s)), stateBytes) }
func (n *Node) raw() []byte  { return unsafe.Slice((*byte)(unsafe.Pointer(n)), nodeBytes) }

// canon makes states the same that can only do the same: what nobody will look
// at again is cleared, counters keep their order and nothing else, and nodes
// that are alike are sorted.
func (c *run) canon(s *State) {
	c.tidy(s)
	for n := range c.cfg.Nodes {
		rankOps(s, n)
	}
	for p := range c.cfg.places() {
		rankEpochs(s, p)
	}
	if c.cfg.Marks {
		rankRevs(s)
	}
	if c.cfg.Alike {
		c.sortNodes(s)
	}
}

// tidy clears what has no effect any more.
func (c *run) tidy(s *State) {
	for n := range c.cfg.Nodes {
		nd := &s.N[n]
		for p := range c.cfg.places() {
			t, k := &nd.T[p], nd.C[p]
			if a := nd.Ans[p]; a.Verdict != noAnswer && !c.bad.noNonce && (t.PC != asked || a.At != t.Q || nd.RS != t.Q.S) {
				nd.Ans[p] = Ans{}
			}
			if o := nd.Ord[p]; o.E != 0 && k.E != o.E && t.E != o.E && s.D.Recs[p].E != o.E && !c.bad.killByPlacement {
				nd.Ord[p] = Order{}
			}
			if nd.Susp[p] != 0 && k.E != nd.Susp[p] && t.E != nd.Susp[p] && !s.D.Recs[p].Last.is(n, nd.Susp[p]) && !s.D.Recs[p].Bound.is(n, nd.Susp[p]) {
				nd.Susp[p] = 0
			}
		}
	}
	if s.Left[fOldOffer] == 0 {
		s.Old = [maxPlaces]Order{}
	}
	if s.Left[fRestore] == 0 && s.NSaved > 0 {
		s.Saved, s.NSaved = [maxSaved]Durable{}, 0
		for n := range s.N {
			s.N[n].Saved = [maxSaved]uint8{}
		}
	}
}

// rankOps makes sessions and ops of one node small: only their order matters.
func rankOps(s *State, n int) {
	var buf [48]*At
	refs := opRefs(s, n, buf[:0])
	nd := &s.N[n]
	sessions := uint32(1)
	one := [...]*uint8{&nd.Sess, &nd.RS, &nd.PS, &nd.Saved[0], &nd.Saved[1]}
	for _, p := range one {
		sessions |= 1 << *p
	}
	for _, a := range refs {
		sessions |= 1 << a.S
	}
	var ops [32]uint32
	for _, a := range refs {
		rank := uint8(bits.OnesCount32(sessions & (1<<a.S - 1)))
		a.S = rank
		ops[rank] |= 1 << a.O
	}
	for _, p := range one {
		*p = uint8(bits.OnesCount32(sessions & (1<<*p - 1)))
	}
	for _, a := range refs {
		if a.S == 0 {
			a.O = 0
			continue
		}
		a.O = uint8(bits.OnesCount32(ops[a.S] & (1<<a.O - 1)))
	}
}

// opRefs lists where a node's (session, op) stand.
func opRefs(s *State, n int, refs []*At) []*At {
	nd := &s.N[n]
	refs = append(refs, &nd.Cur, &nd.File, &nd.HAt, &nd.LAt)
	for i := range nd.Reps {
		refs = append(refs, &nd.Reps[i].At)
	}
	for p := range nd.T {
		refs = append(refs, &nd.T[p].Q, &nd.Req[p][0].At, &nd.Req[p][1].At, &nd.Ans[p].At, &nd.Fail[p].At)
	}
	holders := func(r *Rec) {
		if int(r.Bound.N) == n+1 {
			refs = append(refs, &r.Bound.At)
		}
		if int(r.Last.N) == n+1 {
			refs = append(refs, &r.Last.At)
		}
	}
	for i := range s.D.Recs {
		holders(&s.D.Recs[i])
	}
	for i := range s.NSaved {
		for p := range s.Saved[i].Recs {
			holders(&s.Saved[i].Recs[p])
		}
	}
	holders(&s.Stale.Rec)
	return refs
}

// rankEpochs makes a placement's epochs small within each start.
func rankEpochs(s *State, p int) {
	var buf [64]*uint8
	refs := append(buf[:0], &s.D.Recs[p].E, &s.D.Recs[p].Bound.E, &s.D.Recs[p].Last.E, &s.Old[p].E)
	for i := range s.NSaved {
		r := &s.Saved[i].Recs[p]
		refs = append(refs, &r.E, &r.Bound.E, &r.Last.E)
	}
	if s.Stale.On != 0 && int(s.Stale.Repl.Wanted) == p+1 {
		refs = append(refs, &s.Stale.Rec.E, &s.Stale.Rec.Bound.E, &s.Stale.Rec.Last.E)
	}
	for n := range s.N {
		nd := &s.N[n]
		refs = append(refs, &nd.LC[p].E, &nd.HC[p].E, &nd.Ans[p].E, &nd.C[p].E, &nd.T[p].E, &nd.Req[p][0].E, &nd.Req[p][1].E, &nd.Fail[p].E, &nd.Ord[p].E, &nd.Susp[p])
		for i := range nd.Reps {
			refs = append(refs, &nd.Reps[i].C[p].E)
		}
	}
	var counters [1 << (8 - counterBits)]uint8
	for _, e := range refs {
		if *e != 0 {
			counters[startOf(*e)] |= 1 << (*e & maxCounter)
		}
	}
	for _, e := range refs {
		if *e != 0 {
			rank := bits.OnesCount8(counters[startOf(*e)] & (1<<(*e&maxCounter) - 1))
			*e = *e&^maxCounter | uint8(rank)
		}
	}
}

// rankRevs makes revisions small.
func rankRevs(s *State) {
	var buf [96]*uint8
	refs := append(buf[:0], &s.D.Rev)
	starts := func(d *Durable) {
		for i := range d.NStart {
			refs = append(refs, &d.Starts[i].First)
		}
	}
	starts(&s.D)
	for i := range s.NSaved {
		refs = append(refs, &s.Saved[i].Rev)
		starts(&s.Saved[i])
	}
	for n := range s.N {
		nd := &s.N[n]
		refs = append(refs, &nd.Mark.Rev, &nd.PMark.Rev)
		for p := range nd.Ans {
			refs = append(refs, &nd.Ans[p].Mark.Rev)
		}
	}
	var seen [4]uint64
	for _, r := range refs {
		seen[*r>>6] |= 1 << (*r & 63)
	}
	for _, r := range refs {
		rank := bits.OnesCount64(seen[*r>>6] & (1<<(*r&63) - 1))
		for i := range *r >> 6 {
			rank += bits.OnesCount64(seen[i])
		}
		*r = uint8(rank)
	}
}

// sortNodes orders nodes that are alike by all that is known of them.
func (c *run) sortNodes(s *State) {
	nodes := s.N[:c.cfg.Nodes]
	var recs [maxPlaces*(maxSaved+1) + 1]*Rec
	all := recs[:0]
	for p := range c.cfg.places() {
		all = append(all, &s.D.Recs[p])
		for i := range s.NSaved {
			all = append(all, &s.Saved[i].Recs[p])
		}
	}
	all = append(all, &s.Stale.Rec)
	for i, r := range all {
		mark := uint8(1) << (i % 8)
		for n := range nodes {
			nodes[n].bind |= bit(int(r.Bound.N) == n+1) * mark
			nodes[n].last |= bit(int(r.Last.N) == n+1) * mark
			nodes[n].home |= bit(int(r.Home) == n+1) * mark
		}
	}
	var to [maxNodes + 1]uint8
	var from [maxNodes]int
	for i := range nodes {
		from[i] = i
	}
	for i := 1; i < len(nodes); i++ {
		for j := i; j > 0 && bytes.Compare(nodes[from[j]].raw(), nodes[from[j-1]].raw()) > 0; j-- {
			from[j], from[j-1] = from[j-1], from[j]
		}
	}
	sorted := true
	for i := range nodes {
		to[from[i]+1] = uint8(i + 1)
		sorted = sorted && from[i] == i
		nodes[i].bind, nodes[i].last, nodes[i].home = 0, 0, 0
	}
	if sorted {
		return
	}
	old := s.N
	for i := range nodes {
		s.N[i] = old[from[i]]
	}
	for _, r := range all {
		r.Bound.N, r.Last.N, r.Home = to[r.Bound.N], to[r.Last.N], to[r.Home]
	}
}
