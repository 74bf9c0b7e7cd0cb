package rule

import "longshore/internal/placement"

// Retry puts a DEAD placement back into the queue, its deadline begun anew.
// Anything else is left as it is.
func Retry(r Record, next placement.Epoch) (Record, bool) {
	if r.State != placement.Dead {
		return r, false
	}
	r.State, r.Epoch, r.Why, r.Expired, r.Left, r.Restarts = placement.Pending, next, "", false, r.Within, 0
	return r, true
}

// Expire makes a placement that waits beyond its deadline DEAD. One that is
// starting is left to its start timeout.
func Expire(r Record, why string) (Record, bool) {
	if r.State != placement.Pending {
		return r, false
	}
	r.State, r.Why, r.Expired, r.Left = placement.Dead, why, true, 0
	return r, true
}

// Die makes a waiting placement that no node can ever run DEAD. A copy of it
// that runs after all is adopted.
func Die(r Record, why string) (Record, bool) {
	if r.State != placement.Pending {
		return r, false
	}
	r.State, r.Why, r.Left = placement.Dead, why, 0
	return r, true
}

// Renew gives a waiting placement an epoch of the present start, so that no
// epoch is ever given twice, not even by two histories of one ledger.
func Renew(r Record, next placement.Epoch) (Record, bool) {
	if r.State != placement.Pending {
		return r, false
	}
	r.Epoch = next
	return r, true
}
