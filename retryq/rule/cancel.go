package rule

import "longshore/internal/placement"

// Cancel ends a placement: rm, update, scale-down. It is gone at once (bury
// it) if no copy of it can be anywhere: it was never bound, its copy is proven
// gone, or the node that has it is lost or given up (away). Otherwise it stays
// CANCELLED, with its HA slot, until that copy is proven gone: also the copy
// that may still be adopted, of a start that was merely late.
func Cancel(r Record, slot Slot, why string, away func(placement.NodeID) bool) (Record, Slot, Outcome) {
	if r.Bound == nil && r.State != placement.Cancelled {
		r.Bound = r.Last
	}
	r.State, r.Why, r.Left = placement.Cancelled, why, 0
	if r.Bound != nil && !away(r.Bound.Node) {
		return r, slot, Back
	}
	r, slot = release(r, slot)
	return r, slot, Gone
}
