package rule

import "longshore/internal/placement"

// Stop makes a placement DONE because somebody says so: nothing but their word,
// or a changed request, starts it again. away tells of a node whether it is
// lost or given up.
//
//	PENDING that nothing can have a copy of     DONE, at once
//	PENDING, DEAD with a copy to adopt          DONE, that copy is to leave
//	BOUND, RUNNING                              DONE, its copy is to leave
//	DONE and started again meanwhile            DONE: it is not started again
//	DONE, CANCELLED                             unchanged
//
// What is to leave is condemned (last is none); it keeps Bound, and with that
// its HA slot, until it is proven gone or its node is away.
func Stop(r Record, slot Slot, by string, away func(placement.NodeID) bool) (Record, Slot, bool) {
	switch {
	case r.State == placement.Cancelled, r.State == placement.Done && !r.Again:
		return r, slot, false
	case r.State == placement.Done:
		r.Again, r.By, r.Why = false, by, stoppedBy(by)
		return r, slot, true
	}
	if r.Bound == nil {
		r.Bound = r.Last
	}
	r.State, r.By, r.Why, r.Exit = placement.Done, by, stoppedBy(by), nil
	r.Last, r.Left, r.Gates, r.Expired = nil, 0, false, false
	if r.Bound == nil {
		return r, slot, true
	}
	r.Home = r.Bound.Node
	if away(r.Bound.Node) {
		r, slot = release(r, slot)
	}
	return r, slot, true
}

func stoppedBy(by string) string { return "stopped by " + by }

// Start lets a placement that is DONE or DEAD wait for a node again, under the
// epoch next and with its deadline begun anew. One that was DONE is offered
// only to the node where it was (Home). While the copy of a stopped one is not
// proven gone it stays DONE, and starts then. Anything else is left as it is.
func Start(r Record, next placement.Epoch) (Record, bool) {
	switch {
	case r.State == placement.Done && r.Bound != nil:
		if r.Again {
			return r, false
		}
		r.Again, r.Why = true, r.Why+"; starts again when its copy is gone"
		return r, true
	case r.State != placement.Done && r.State != placement.Dead:
		return r, false
	}
	return again(r, next), true
}

// again makes a record that rests wait for a node.
func again(r Record, next placement.Epoch) Record {
	r.State, r.Epoch, r.Left = placement.Pending, next, r.Within
	r.By, r.Why, r.Again, r.Expired = "", "", false, false
	r.Restarts, r.Exit = 0, nil
	return r
}

// Destroy is the step that ends a replica because somebody says so: its wanted
// life is cancelled, and a mark keeps the app's rollout from beginning another
// with the same request. digest is that of the request its app wishes. False:
// it is destroyed already.
func Destroy(s Standing, by, digest string) (Step, bool) {
	return Step{
		Replica: s.Replica.Replica, Cancel: s.Wanted != nil,
		Ended: &Ended{By: by, Digest: digest}, Why: "destroyed by " + by,
	}, !destroyed(s, digest)
}

// Revive is the step that brings a destroyed replica back, as service i of its
// app. False: it is not destroyed.
func Revive(s Standing, i int, digest string) (Step, bool) {
	return Step{Replica: s.Replica.Replica, Begin: true, Service: i}, destroyed(s, digest)
}
