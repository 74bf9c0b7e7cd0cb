package rule

import "longshore/internal/placement"

// After a rollback the ledger's bound copies are hearsay; what nodes list is
// the truth. When the hold ends, first every record that no listing confirms is
// put back and its HA slot released ([Unconfirmed]), then for each placement
// the highest epoch that runs is adopted where its slot is free ([Reclaim]).
// Whatever else runs meets a record that is not its own, and is stopped.

// Unconfirmed puts a record back whose bound copy was not seen in any listing.
// If its node was listed, the copy is gone; otherwise it may be adopted later.
// A copy that was to leave a node that was listed is gone.
func Unconfirmed(r Record, slot Slot, listed bool, next placement.Epoch) (Record, Slot, Outcome) {
	switch {
	case r.Bound == nil:
		return r, slot, Nothing
	case r.Leaving() && listed:
		return left(r, slot, next)
	case r.Leaving():
		return r, slot, Nothing
	}
	r, slot = requeue(r, slot, next)
	if listed {
		r.Last = nil
	}
	return r, slot, Back
}

// Reclaim binds the copy of the highest epoch that runs, as of its node's
// listing. It says no for a placement that ended, or whose HA slot is another
// replica's.
func Reclaim(r Record, slot Slot, slotKey string, h placement.Holder) (Record, Slot, bool) {
	if r.State == placement.Cancelled || r.State == placement.Done || r.State == placement.Dead && r.Expired {
		return r, slot, false
	}
	if _, ok := slotFree(r, slot, slotKey); !ok {
		return r, slot, false
	}
	r, slot = r.take(slot, slotKey)
	return Run(r).heldBy(h.Node, h.Epoch, h.At), slot, true
}
