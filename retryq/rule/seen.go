package rule

import "longshore/internal/placement"

// Sight is what a report about one copy comes to.
type Sight struct {
	Running bool   // the bound copy runs; not durable by itself
	Ended   bool   // the bound copy has ended; its agent will ask
	Changed bool   // record or slot differ from what was given
	Adopted bool   // bound again what had been given up
	Stop    string // order to stop exactly this copy, and why; "": none
}

// Trust is what a report may prove.
type Trust struct {
	// At is the agent's (session, op) as of the listing; nil if there is none,
	// or if the node has not registered with this start: presence only.
	At *placement.SessionOp
	// Orders allows stop orders, and with them that a copy is condemned; false
	// while the ledger holds.
	Orders bool
	// Adopt allows that what was given up is bound again.
	Adopt bool
}

// Seen applies a report's word about one copy of a known placement (step 6).
//
//	running, bound here                     RUNNING
//	running, PENDING or DEAD (not by its
//	    deadline), last, op not older,
//	    HA slot free or this replica's      adopted, RUNNING
//	running, last, op older or unknown      nothing yet: a newer report will tell
//	running otherwise                       stop; last cleared if it was this one
//	exited, bound here                      its agent will ask
//	exited, DONE by that exit               nothing: it is kept
//	exited, of an epoch that nothing can
//	    bind any more, or stopped           stop (that is: remove)
//	CANCELLED, or the bound one of what was
//	    stopped, and here in any form       stop
//	created                                 neither absent nor running
func Seen(r Record, slot Slot, slotKey string, node placement.NodeID, c placement.Copy, t Trust) (Record, Slot, Sight) {
	bound, last := r.Bound.Is(node, c.Epoch), r.Last.Is(node, c.Epoch)
	switch {
	case c.State == placement.CopyGone:
		return r, slot, Sight{}
	case r.State == placement.Cancelled:
		return stop(r, slot, last, t, "it was removed")
	case r.Leaving() && bound:
		return stop(r, slot, last, t, r.Why)
	case c.State == placement.CopyCreated:
		return r, slot, Sight{}
	case c.State == placement.CopyExited:
		if bound {
			return r, slot, Sight{Ended: true}
		}
		if r.State == placement.Done && r.By == "" || last || r.By == "" && c.Epoch >= r.Epoch {
			return r, slot, Sight{}
		}
		return stop(r, slot, last, t, r.unwanted())
	}
	if bound {
		return r, slot, Sight{Running: true}
	}
	adoptable := r.State == placement.Pending || r.State == placement.Dead && !r.Expired
	if adoptable && last {
		if t.At == nil || t.At.Compare(r.Last.At) < 0 || !t.Adopt {
			return r, slot, Sight{}
		}
		if _, ok := slotFree(r, slot, slotKey); !ok {
			return stop(r, slot, last, t, "a replica with the same HA token took its place")
		}
		r, slot = r.take(slot, slotKey)
		r = Run(r).heldBy(node, c.Epoch, *t.At)
		return r, slot, Sight{Running: true, Changed: true, Adopted: true}
	}
	return stop(r, slot, last, t, r.unwanted())
}

// unwanted is why a copy that nothing binds has to go.
func (r Record) unwanted() string {
	if r.State == placement.Done && r.By != "" {
		return r.Why
	}
	return "another copy took its place"
}

func stop(r Record, slot Slot, last bool, t Trust, why string) (Record, Slot, Sight) {
	if !t.Orders {
		return r, slot, Sight{}
	}
	s := Sight{Stop: why}
	if last && r.Bound == nil {
		r.Last, s.Changed = nil, true
	}
	return r, slot, s
}

// Run is the record once its bound copy was seen running.
func Run(r Record) Record {
	r.State, r.Left, r.Gates, r.Why = placement.Running, 0, false, ""
	return r
}
