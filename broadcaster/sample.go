package broadcaster

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"longshore/internal/placement"
)

const (
	firstWidth = 3 // nodes of the first round
	strangers  = 3 // nodes of a round that by their last report have no room
)

// Rounds is how many nodes each round of a chain asks if n are eligible: 3,
// twice as many each time, at last all.
func Rounds(n int) []int {
	var widths []int
	for w := firstWidth; w < n; w *= 2 {
		widths = append(widths, w)
	}
	if n > 0 {
		widths = append(widths, n)
	}
	return widths
}

// Eligible are the nodes that may be asked to take the request, by name: ready
// ones with an agent, and only the request's own if it names one. The others
// are counted by why not: the code of a reason or the state of the node.
func Eligible(nodes []placement.NodeStatus, req placement.Request) (yes []placement.NodeStatus, no map[string]int) {
	no = map[string]int{}
	for _, n := range nodes {
		switch {
		case req.Node != "" && n.Node != req.Node:
			no[placement.ReasonNode]++
		case n.State != placement.NodeReady:
			no[string(n.State)]++
		case !n.Agent:
			no["no_agent"]++
		default:
			yes = append(yes, n)
		}
	}
	slices.SortFunc(yes, func(a, b placement.NodeStatus) int { return cmp.Compare(a.Node, b.Node) })
	return yes, no
}

// Sample chooses whom a round asks: width nodes that by their last report have
// room, emptier ones more likely, and three others at random, so that a view
// that is out of date starves nobody. Where too few have room, others fill the
// round. It never chooses an excluded node, and with width at least
// len(nodes) it chooses all others. The result depends on the set of nodes,
// not on their order.
func Sample(rng *rand.Rand, nodes []placement.NodeStatus, req placement.Request, width int, exclude map[placement.NodeID]bool) []placement.NodeID {
	nodes, _ = Eligible(nodes, req)
	type candidate struct {
		node placement.NodeID
		key  float64
	}
	var roomy, others []candidate
	for _, n := range nodes {
		if exclude[n.Node] {
			continue
		}
		// The k largest of u^(1/weight) are a sample of k by weight.
		u := rng.Float64()
		if n.Room.Free().Fits(req.Needs) {
			roomy = append(roomy, candidate{n.Node, math.Pow(u, 1/emptiness(n.Room))})
		} else {
			others = append(others, candidate{n.Node, u})
		}
	}
	var picked []placement.NodeID
	take := func(from []candidate, n int) {
		slices.SortFunc(from, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(a.node, b.node))
		})
		for _, c := range from[:min(max(n, 0), len(from))] {
			picked = append(picked, c.node)
		}
	}
	take(roomy, width)
	take(others, max(strangers, width-len(roomy)))
	return picked
}

// emptiness is the free share of what the node has least of, from 0.05 to 1.
func emptiness(r placement.Room) float64 {
	free, share := r.Free(), 1.0
	for _, p := range [][2]int64{{free.CPU, r.Capacity.CPU}, {free.Memory, r.Capacity.Memory}} {
		if p[1] > 0 {
			share = min(share, float64(p[0])/float64(p[1]))
		}
	}
	return max(share, 0.05)
}
