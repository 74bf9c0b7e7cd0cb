package rule

import "longshore/internal/placement"

// Outcome is what the loss of a copy comes to.
type Outcome int

// What a loss comes to.
const (
	Nothing Outcome = iota // it is no loss
	Back                   // back into the queue
	Gone                   // it was CANCELLED, and is now proven gone: bury it
	Rest                   // it was stopped, and its copy is now proven gone
)

// Absent applies a complete listing that does not show the bound copy: the
// daemon was listed, and at is the agent's (session, op) as of the listing.
// Only an op not older than the bound one proves absence. The copy is gone, so
// there is nothing left to adopt.
func Absent(r Record, slot Slot, node placement.NodeID, at placement.SessionOp, next placement.Epoch) (Record, Slot, Outcome) {
	if r.Bound == nil || r.Bound.Node != node || at.Compare(r.Bound.At) < 0 {
		return r, slot, Nothing
	}
	if r.Leaving() {
		return left(r, slot, next)
	}
	r, slot = requeue(r, slot, next)
	r.Last = nil
	return r, slot, Back
}

// Lose applies silence beyond the grace, an operator's word that the node is
// given up, or a start that was not seen in time. The copy may still run: it
// stays what may be adopted. That of a CANCELLED or stopped one counts as gone,
// unless its start was merely late.
func Lose(r Record, slot Slot, node placement.NodeID, next placement.Epoch) (Record, Slot, Outcome) {
	if r.Bound == nil || r.Bound.Node != node {
		return r, slot, Nothing
	}
	if r.Leaving() {
		return left(r, slot, next)
	}
	r, slot = requeue(r, slot, next)
	return r, slot, Back
}

// left ends the wait for a copy that was to leave: of a CANCELLED placement
// nothing remains, a stopped one rests, or waits for a node if it was started
// again meanwhile.
func left(r Record, slot Slot, next placement.Epoch) (Record, Slot, Outcome) {
	r, slot = release(r, slot)
	if r.State == placement.Cancelled {
		return r, slot, Gone
	}
	if r.Again {
		r = again(r, next)
	}
	return r, slot, Rest
}

// Failed applies the word that Docker refused to start a bound copy, which its
// agent has removed. It counts only for the bound (node, epoch) and with a
// (session, op) not older than the bound one.
func Failed(r Record, slot Slot, f placement.Failed, next placement.Epoch) (Record, Slot, Outcome) {
	if !r.Live() || !r.Bound.Is(f.Node, f.Epoch) || f.At.Compare(r.Bound.At) < 0 {
		return r, slot, Nothing
	}
	r, slot = requeue(r, slot, next)
	r.Last = nil
	return r, slot, Back
}

// requeue makes a bound record wait again, under a new epoch.
func requeue(r Record, slot Slot, next placement.Epoch) (Record, Slot) {
	r, slot = release(r, slot)
	r.State, r.Epoch = placement.Pending, next
	return r, slot
}

// release unbinds the record and gives its HA slot back.
func release(r Record, slot Slot) (Record, Slot) {
	if r.Slot != "" {
		slot = slot.Without(r.ID)
	}
	r.Bound, r.Slot = nil, ""
	return r, slot
}
