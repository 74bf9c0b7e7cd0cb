package broadcaster_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"longshore/broadcaster"
	"longshore/internal/placement"
)

func ready(name string, free int64) placement.NodeStatus {
	return placement.NodeStatus{
		Node: placement.NodeID(name), State: placement.NodeReady, Agent: true,
		Room: placement.Room{Capacity: placement.Resources{CPU: 4000, Memory: 1000, Disk: 1000}, Promised: placement.Resources{Memory: 1000 - free}},
	}
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func needs(memory int64) placement.Request {
	return placement.Request{Needs: placement.Resources{Memory: memory}}
}

func TestRounds(t *testing.T) {
	for n, want := range map[int][]int{
		0: nil, 1: {1}, 3: {3}, 4: {3, 4}, 6: {3, 6}, 7: {3, 6, 7}, 12: {3, 6, 12}, 50: {3, 6, 12, 24, 48, 50},
	} {
		if got := broadcaster.Rounds(n); !slices.Equal(got, want) {
			t.Errorf("Rounds(%d) = %v, want %v", n, got, want)
		}
	}
}

func TestEligible(t *testing.T) {
	nodes := []placement.NodeStatus{ready("n3", 1), ready("n1", 1)}
	for i, s := range []placement.NodeState{placement.NodeSuspect, placement.NodeSilent, placement.NodeLost, placement.NodeDraining, placement.NodeGivenUp} {
		n := ready(fmt.Sprintf("x%d", i), 1)
		n.State = s
		nodes = append(nodes, n)
	}
	alone := ready("n2", 1)
	alone.Agent = false
	nodes = append(nodes, alone)

	yes, no := broadcaster.Eligible(nodes, placement.Request{})
	if len(yes) != 2 || yes[0].Node != "n1" || yes[1].Node != "n3" {
		t.Errorf("eligible: %v", yes)
	}
	for _, why := range []string{"suspect", "silent", "lost", "draining", "given-up", "no_agent"} {
		if no[why] != 1 {
			t.Errorf("%s counted %d times, want once", why, no[why])
		}
	}
	yes, no = broadcaster.Eligible(nodes, placement.Request{Node: "n3"})
	if len(yes) != 1 || yes[0].Node != "n3" || no[placement.ReasonNode] != 7 {
		t.Errorf("with a node asked for: %v, %v", yes, no)
	}
	if yes, _ := broadcaster.Eligible(nodes, placement.Request{Node: "n2"}); len(yes) != 0 {
		t.Errorf("a node without agent is eligible: %v", yes)
	}
}

// TestSampleProperties checks a thousand random clusters.
func TestSampleProperties(t *testing.T) {
	for seed := range uint64(1000) {
		r := rng(seed)
		var nodes []placement.NodeStatus
		for i := range r.IntN(60) {
			nodes = append(nodes, ready(fmt.Sprintf("n%02d", i), r.Int64N(1000)))
			if r.IntN(10) == 0 {
				nodes[i].State = placement.NodeSuspect
			}
		}
		req, width, exclude := needs(r.Int64N(1000)), 1+r.IntN(70), map[placement.NodeID]bool{}
		roomy, open := 0, 0
		for _, n := range nodes {
			exclude[n.Node] = r.IntN(4) == 0
			if n.State == placement.NodeReady && !exclude[n.Node] {
				open++
				if n.Room.Free().Fits(req.Needs) {
					roomy++
				}
			}
		}
		got := broadcaster.Sample(rng(seed), nodes, req, width, exclude)

		shuffled := slices.Clone(nodes)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := broadcaster.Sample(rng(seed), shuffled, req, width, exclude); !slices.Equal(got, again) {
			t.Fatalf("seed %d: %v, and from another order %v", seed, got, again)
		}
		if len(got) > width+3 {
			t.Fatalf("seed %d: %d nodes for width %d", seed, len(got), width)
		}
		if want := min(open, width); len(got) < want {
			t.Fatalf("seed %d: %d nodes of %d for width %d", seed, len(got), open, width)
		}
		seen, withRoom := map[placement.NodeID]bool{}, 0
		for _, n := range got {
			i := slices.IndexFunc(nodes, func(s placement.NodeStatus) bool { return s.Node == n })
			if seen[n] || exclude[n] || nodes[i].State != placement.NodeReady {
				t.Fatalf("seed %d: %s is twice, excluded or not ready", seed, n)
			}
			seen[n] = true
			if nodes[i].Room.Free().Fits(req.Needs) {
				withRoom++
			}
		}
		if withRoom != min(roomy, width) {
			t.Fatalf("seed %d: %d nodes with room of %d for width %d", seed, withRoom, roomy, width)
		}
	}
}

// TestSampleStarvesNobody: a node that looks full is asked in the first round
// of some try before long, and an empty one is asked more often than one that
// is nearly full.
func TestSampleStarvesNobody(t *testing.T) {
	var nodes []placement.NodeStatus
	for i := range 20 {
		nodes = append(nodes, ready(fmt.Sprintf("full%02d", i), 0), ready(fmt.Sprintf("half%02d", i), 400), ready(fmt.Sprintf("idle%02d", i), 1000))
	}
	asked := map[placement.NodeID]int{}
	for seed := range uint64(500) {
		for _, n := range broadcaster.Sample(rng(seed), nodes, needs(100), 3, nil) {
			asked[n]++
		}
	}
	half, idle := 0, 0
	for _, n := range nodes {
		if asked[n.Node] == 0 {
			t.Errorf("%s was never asked", n.Node)
		}
		switch n.Node[:4] {
		case "half":
			half += asked[n.Node]
		case "idle":
			idle += asked[n.Node]
		}
	}
	if idle < half*3/2 {
		t.Errorf("empty nodes were asked %d times, fuller ones %d times", idle, half)
	}
}
