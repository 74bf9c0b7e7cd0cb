package hostinfo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"longshore/internal/placement"
)

// guard is who is held because too many fell silent together: that is more
// likely the network, or we, than the nodes.
type guard struct {
	nodes  map[placement.NodeID]bool
	owners map[string]bool // whose daemons fell silent on too many nodes
	why    string          // for all to see; "" if no node is held
}

// domains are the labels that group nodes that may fall silent together.
var domains = [...]string{"zone", "rack"}

// guard holds the silent nodes if more than max(2, 20 %) are silent together.
// Nodes lost a good while ago are neither counted nor counted upon. A domain
// that is silent as a whole, for long enough, while 80 % of the rest is heard,
// is released and no longer counted. So are nodes that an operator gave up, and
// silences that an operator released.
func (t Times) guard(s Snapshot) guard {
	var present []Heard
	for _, n := range s.Nodes {
		if !n.GivenUp && !n.Freed && (!n.Lost || n.LostFor <= 2*t.Lost) {
			present = append(present, n.since(s.Void))
		}
	}
	limit := max(2, len(present)/5)
	silent := map[placement.NodeID]bool{}
	mute := map[string]int{}
	for _, n := range present {
		if n.quiet() >= t.Soonest || n.half(t) >= t.Lost {
			silent[n.Node] = true
			continue
		}
		for _, d := range n.Daemons {
			if !d.Freed && min(d.Age, s.Void) >= t.Soonest {
				mute[d.Owner]++
			}
		}
	}
	g := guard{owners: map[string]bool{}}
	for owner, nodes := range mute {
		g.owners[owner] = nodes > limit
	}
	if len(silent) > limit {
		for _, name := range t.released(present, silent) {
			delete(silent, name)
		}
	}
	if len(silent) > limit {
		g.nodes = silent
		g.why = fmt.Sprintf("%d of %d nodes fell silent together, more than %d: what they run is not started elsewhere before some are heard again, or an operator says `schedctl guard release` or `schedctl node give-up NODE`", len(silent), len(present), limit)
	}
	return g
}

// heldOwners are those whose daemons are held, by name.
func (g guard) heldOwners() []string {
	var held []string
	for _, owner := range slices.Sorted(maps.Keys(g.owners)) {
		if g.owners[owner] {
			held = append(held, owner)
		}
	}
	return held
}

// released are the nodes of every domain that is silent as a whole for so long
// that it, and not the rest, must be cut off.
func (t Times) released(present []Heard, silent map[placement.NodeID]bool) []placement.NodeID {
	type domain struct {
		nodes  []placement.NodeID
		silent int
		least  time.Duration // shortest silence among them
	}
	byName := map[string]*domain{}
	for _, n := range present {
		for _, label := range domains {
			value := n.Labels[label]
			if value == "" {
				continue
			}
			d := byName[label+"="+value]
			if d == nil {
				d = &domain{least: n.quiet()}
				byName[label+"="+value] = d
			}
			d.nodes = append(d.nodes, n.Node)
			d.least = min(d.least, n.quiet())
			if silent[n.Node] {
				d.silent++
			}
		}
	}
	var out []placement.NodeID
	for _, d := range byName {
		rest := len(present) - len(d.nodes)
		heard := rest - (len(silent) - d.silent)
		if d.least >= t.Domain && rest > 0 && heard*5 >= rest*4 {
			out = append(out, d.nodes...)
		}
	}
	slices.SortFunc(out, cmp.Compare[placement.NodeID])
	return out
}
