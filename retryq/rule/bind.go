package rule

import (
	"longshore/internal/placement"
)

// Answer is what a question of a node comes to. Changed tells whether record
// or slot differ from what was given, so that they must be durable before the
// answer is.
type Answer struct {
	Verdict string // one of placement's verdicts
	Changed bool
	Adopted bool              // bound again what had been given up
	Reason  *placement.Reason // of a no, where there is something to tell
}

// Bind decides step 4 of the protocol for a copy that has not ended: may this
// node start it? slot is the HA slot of the request's token in the node's
// domain, under slotKey ("" if the request has no token).
//
// The clauses, in this order; the first that fits holds:
//
//	another digest                                   no, condemned
//	bound to this node at this epoch                 yes, (session, op) := max
//	PENDING, the record's epoch, node takes work,
//	    HA slot free or this replica's               yes, BOUND
//	PENDING, (node, epoch) is last, newer op, node
//	    takes work, HA slot free or this replica's   yes, BOUND (adopted)
//	anything else                                    no, condemned
//
// Condemned: last is cleared if it was (node, epoch) and the op is newer.
func Bind(r Record, slot Slot, slotKey string, node placement.NodeRecord, b placement.Bind) (Record, Slot, Answer) {
	if b.Digest != r.Digest {
		return condemn(r, slot, b, &placement.Reason{Code: placement.ReasonBind, Text: "made from another request"})
	}
	if r.Live() && r.Bound.Is(b.Node, b.Epoch) {
		if b.At.Compare(r.Bound.At) <= 0 {
			return r, slot, Answer{Verdict: placement.VerdictYes}
		}
		r = r.heldBy(b.Node, b.Epoch, b.At)
		return r, slot, Answer{Verdict: placement.VerdictYes, Changed: true}
	}
	if r.State != placement.Pending {
		return condemn(r, slot, b, &placement.Reason{Code: placement.ReasonBind, Text: "the placement is " + r.State.Word()})
	}
	offered := r.Epoch == b.Epoch
	adopted := r.Last.Is(b.Node, b.Epoch) && b.At.Compare(r.Last.At) > 0
	if !offered && !adopted {
		return condemn(r, slot, b, &placement.Reason{Code: placement.ReasonBind, Text: "another copy took its place"})
	}
	if node.Draining || node.GivenUp {
		return condemn(r, slot, b, &placement.Reason{Code: placement.ReasonDraining})
	}
	if holder, ok := slotFree(r, slot, slotKey); !ok {
		return condemn(r, slot, b, tokenHeld(r, holder))
	}
	r, slot = r.take(slot, slotKey)
	r.State = placement.Bound
	r = r.heldBy(b.Node, b.Epoch, b.At)
	return r, slot, Answer{Verdict: placement.VerdictYes, Changed: true, Adopted: adopted}
}

// condemn answers no; a copy that might have been adopted and is told no with
// a newer op never can be.
func condemn(r Record, slot Slot, b placement.Bind, why *placement.Reason) (Record, Slot, Answer) {
	a := Answer{Verdict: placement.VerdictNo, Reason: why}
	if r.Last.Is(b.Node, b.Epoch) && b.At.Compare(r.Last.At) > 0 && !r.Bound.Is(b.Node, b.Epoch) {
		r.Last, a.Changed = nil, true
	}
	return r, slot, a
}

// heldBy makes (node, epoch, at) what is bound and what may be adopted; a home
// has served its purpose. The holders are new values: others may still read the
// old ones.
func (r Record) heldBy(node placement.NodeID, e placement.Epoch, at placement.SessionOp) Record {
	r.Bound = &placement.Holder{Node: node, Epoch: e, At: at}
	r.Last = &placement.Holder{Node: node, Epoch: e, At: at}
	r.Home = ""
	return r
}

// take makes the record hold the slot.
func (r Record) take(slot Slot, slotKey string) (Record, Slot) {
	r.Slot = slotKey
	if slotKey == "" {
		return r, slot
	}
	return r, slot.With(r.ID)
}

func slotFree(r Record, slot Slot, slotKey string) (placement.Replica, bool) {
	if slotKey == "" {
		return "", true
	}
	return slot.Free(r.ID)
}

func tokenHeld(r Record, holder placement.Replica) *placement.Reason {
	return &placement.Reason{Code: placement.ReasonHAToken, Need: r.Request.HAToken, Have: "held by " + string(holder)}
}
