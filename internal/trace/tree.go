package trace

import (
	"cmp"
	"slices"
	"time"
)

// Node is a step with the steps that are part of it, by when they began.
type Node struct {
	Span
	At       time.Duration // since the first step of the trace began
	Children []*Node
}

// Length is how long the step took.
func (n *Node) Length() time.Duration { return time.Duration(n.Took) * time.Microsecond }

// Tree puts the steps of one trace, from any number of processes, together. The
// first of what it returns is what began the trace, as far as it is known;
// further ones are steps whose parent is not among the spans. Where they lie is
// known only if a step before them has the same clock; else they are at 0.
func Tree(spans []Span) []*Node {
	nodes := make(map[string]*Node, len(spans))
	var all []*Node
	seen := map[string]int{} // clocks, in the order of the spans
	for i, s := range spans {
		if _, ok := seen[s.Clock]; !ok {
			seen[s.Clock] = i
		}
		if nodes[s.ID] == nil {
			n := &Node{Span: s}
			nodes[s.ID] = n
			all = append(all, n)
		}
	}
	var roots []*Node
	for _, n := range all {
		if above := nodes[n.Parent]; above != nil && above != n {
			above.Children = append(above.Children, n)
		} else {
			roots = append(roots, n)
		}
	}
	slices.SortStableFunc(roots, func(a, b *Node) int {
		switch {
		case (a.Parent == "") != (b.Parent == ""):
			return cmp.Compare(len(a.Parent), len(b.Parent))
		case a.Clock != b.Clock:
			return cmp.Compare(seen[a.Clock], seen[b.Clock])
		}
		return cmp.Compare(a.Start, b.Start)
	})
	clocks := map[string]*Node{} // a step of each clock whose place is known
	for _, r := range roots {
		if known := clocks[r.Clock]; known != nil {
			r.At = known.At + since(known, r)
		}
		r.place(clocks)
	}
	return roots
}

// place gives every step below n its place, and puts them in order.
func (n *Node) place(clocks map[string]*Node) {
	if clocks[n.Clock] == nil {
		clocks[n.Clock] = n
	}
	for _, c := range n.Children {
		if c.Clock == n.Clock {
			c.At = n.At + since(n, c)
		} else {
			c.At = n.At + max(0, n.Length()-c.Length())/2 // as long there as back
		}
		c.place(clocks)
	}
	slices.SortStableFunc(n.Children, func(a, b *Node) int { return cmp.Compare(a.At, b.At) })
}

// since is how long after a's start b's was; both have one clock.
func since(a, b *Node) time.Duration { return time.Duration(b.Start-a.Start) * time.Microsecond }

// End is when the last step of the trees ended, since the trace began.
func End(roots []*Node) time.Duration {
	var last time.Duration
	for _, n := range roots {
		last = max(last, n.At+n.Length(), End(n.Children))
	}
	return last
}
