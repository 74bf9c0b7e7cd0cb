package agent

import (
	"cmp"
	"slices"
	"strconv"

	"longshore/internal/placement"
)

// State is all that [Admit] looks at: a node as its agent knows it at one
// moment.
type State struct {
	Node       placement.NodeID
	Registered bool // with the ledger that is there now
	Draining   bool // the agent is about to end
	Busy       int  // placements being worked on
	MaxBusy    int
	Capacity   placement.Resources // after the system's reserve
	Defaults   placement.Resources // what a request without CPU or memory gets
	Strangers  int                 // containers that are not ours: each counts as a request without CPU or memory
	Holds      []Hold              // sorted by ID
}

// Hold is one copy that is not proven gone, or one placement in flight, with
// what it keeps from others.
type Hold struct {
	ID      placement.ID
	Epoch   placement.Epoch
	Request placement.Request // of a copy whose request file is lost: only its Needs
	Late    []placement.Port  // ports of the node's address that it was given while it ran
	Racing  bool              // it has not won its claim yet, so it may be gone in a moment
}

// ports are all that it may have on the node's address.
func (h Hold) ports() []placement.Port { return slices.Concat(h.Request.Ports, h.Late) }

// published tells whether it has a port on the node's address.
func (h Hold) published() bool {
	return slices.ContainsFunc(h.ports(), func(p placement.Port) bool { return p.Host != 0 })
}

// needs are the resources that a request reserves on a node with these
// defaults.
func needs(r placement.Request, defaults placement.Resources) placement.Resources {
	n := r.Needs
	n.CPU = cmp.Or(n.CPU, defaults.CPU)
	n.Memory = cmp.Or(n.Memory, defaults.Memory)
	return n
}

// Promised is what all holds and strangers together reserve.
func (s State) Promised() placement.Resources {
	sum := placement.Resources{CPU: int64(s.Strangers) * s.Defaults.CPU, Memory: int64(s.Strangers) * s.Defaults.Memory}
	for _, h := range s.Holds {
		sum = sum.Plus(needs(h.Request, s.Defaults))
	}
	return sum
}

// Fullness is the promised share of the scarcer of CPU and memory, 0 to 1.
func (s State) Fullness() float64 {
	p, full := s.Promised(), 0.0
	if s.Capacity.CPU > 0 {
		full = float64(p.CPU) / float64(s.Capacity.CPU)
	}
	if s.Capacity.Memory > 0 {
		full = max(full, float64(p.Memory)/float64(s.Capacity.Memory))
	}
	return min(max(full, 0), 1)
}

// Admit decides whether the node may take the offer; if not, why. It is pure,
// and asked twice: at the offer, and before the container is created with the
// placement's own reservation left out of s.
//
// What lasts is checked before what passes by itself, so that the reason is
// the one that tells a person most.
func Admit(s State, o placement.Offer) (ok bool, why placement.Reason) {
	if s.Draining {
		return false, placement.Reason{Code: placement.ReasonDraining, Text: "the agent is stopping"}
	}
	if !s.Registered {
		return false, placement.Reason{Code: placement.ReasonStarting, Text: "the agent is not registered yet"}
	}
	if want := o.Request.Node; want != "" && want != s.Node {
		return false, placement.Reason{Code: placement.ReasonNode, Need: string(want), Have: string(s.Node)}
	}
	for _, check := range []func(State, placement.Offer) (bool, placement.Reason){
		checkHeld, checkToken, checkHostPorts, checkListen, checkRoom,
	} {
		if ok, why := check(s, o); !ok {
			return false, why
		}
	}
	if s.Busy >= s.MaxBusy {
		return false, placement.Reason{
			Code: placement.ReasonBusy,
			Need: "one of " + strconv.Itoa(s.MaxBusy) + " places",
			Have: strconv.Itoa(s.Busy) + " placements in work",
		}
	}
	return true, placement.Reason{}
}

// checkHeld refuses a second copy of one placement, of whatever epoch: a
// daemon can never hold two.
func checkHeld(s State, o placement.Offer) (bool, placement.Reason) {
	for _, h := range s.Holds {
		if h.ID == o.ID {
			return false, placement.Reason{Code: placement.ReasonHeld, Have: "a copy of epoch " + string(h.Epoch)}
		}
	}
	return true, placement.Reason{}
}

// checkToken keeps replicas of one HA token apart where the domain is the
// node; of racks and zones the ledger knows, not the node. Another life of the
// same replica is no conflict: the ledger gives them one slot.
func checkToken(s State, o placement.Offer) (bool, placement.Reason) {
	token := o.Request.HAToken
	if token == "" || !byNode(o.Request) {
		return true, placement.Reason{}
	}
	for _, h := range s.Holds {
		if h.Request.HAToken == token && byNode(h.Request) && h.ID.Owner() == o.ID.Owner() && h.ID.Replica() != o.ID.Replica() {
			return false, heldBy(placement.ReasonHAToken, token, h)
		}
	}
	return true, placement.Reason{}
}

func byNode(r placement.Request) bool { return r.HADomain == "" || r.HADomain == "node" }

// checkHostPorts keeps a port of the node's address for one copy, whoever its
// owner is; another life of the same replica counts until it is gone.
func checkHostPorts(s State, o placement.Offer) (bool, placement.Reason) {
	taken := map[hostPort]Hold{}
	for _, h := range s.Holds {
		for _, p := range h.ports() {
			taken[hostPortOf(p)] = h
		}
	}
	for _, p := range o.Request.Ports {
		if h, found := taken[hostPortOf(p)]; found && p.Host != 0 {
			return false, heldBy(placement.ReasonHostPort, hostPortOf(p).String(), h)
		}
	}
	return true, placement.Reason{}
}

type hostPort struct {
	proto string
	port  uint16
}

func hostPortOf(p placement.Port) hostPort { return hostPort{cmp.Or(p.Proto, "tcp"), p.Host} }

func (p hostPort) String() string { return strconv.Itoa(int(p.port)) + "/" + p.proto }

// checkListen keeps apart what listens inside the one net container that an
// owner's placements share.
func checkListen(s State, o placement.Offer) (bool, placement.Reason) {
	if o.Request.Net != placement.NetShared {
		return true, placement.Reason{}
	}
	taken := map[uint16]Hold{}
	for _, h := range s.Holds {
		if h.Request.Net != placement.NetShared || h.ID.Owner() != o.ID.Owner() {
			continue
		}
		for _, p := range h.Request.Listen {
			taken[p] = h
		}
	}
	for _, p := range o.Request.Listen {
		if h, found := taken[p]; found {
			return false, heldBy(placement.ReasonListen, strconv.Itoa(int(p)), h)
		}
	}
	return true, placement.Reason{}
}

func heldBy(code, what string, h Hold) placement.Reason {
	return placement.Reason{Code: code, Need: what, Have: "held by " + string(h.ID.Replica()), Soon: h.Racing}
}

// checkRoom compares what is free with what is needed. Of something that is
// not needed there may be less than nothing.
func checkRoom(s State, o placement.Offer) (bool, placement.Reason) {
	need, free := needs(o.Request, s.Defaults), s.Capacity.Minus(s.Promised())
	why := placement.Reason{Soon: free.Plus(s.racing()).Fits(need)}
	switch {
	case need.CPU > 0 && need.CPU > free.CPU:
		why.Code, why.Need, why.Have, why.Short = placement.ReasonCPU, coresText(need.CPU), coresText(free.CPU), need.CPU-free.CPU
	case need.Memory > 0 && need.Memory > free.Memory:
		why.Code, why.Need, why.Have, why.Short = placement.ReasonMemory, bytesUp(need.Memory), bytesDown(free.Memory), need.Memory-free.Memory
	case need.Disk > 0 && need.Disk > free.Disk:
		why.Code, why.Need, why.Have, why.Short = placement.ReasonDisk, bytesUp(need.Disk), bytesDown(free.Disk), need.Disk-free.Disk
	default:
		return true, placement.Reason{}
	}
	return false, why
}

// racing is what is reserved for those that may be gone in a moment.
func (s State) racing() placement.Resources {
	var sum placement.Resources
	for _, h := range s.Holds {
		if h.Racing {
			sum = sum.Plus(needs(h.Request, s.Defaults))
		}
	}
	return sum
}
