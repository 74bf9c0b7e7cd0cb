package rule

import "longshore/internal/placement"

// Retry puts a placement that is DEAD, or that somebody stopped, back into the
// queue as [Start] does, but for any node; so it frees what waits for the one
// where it was. Anything else is left as it is.
func Retry(r Record, next placement.Epoch) (Record, bool) {
	switch {
	case r.State == placement.Pending && r.Home != "":
		r.Home = ""
		return r, true
	case r.State == placement.Done && r.By == "":
		return r, false
	}
	r, ok := Start(r, next)
	if ok {
		r.Home = ""
	}
	return r, ok
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
