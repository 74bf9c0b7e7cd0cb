package rule

import (
	"fmt"
	"time"

	"longshore/internal/placement"
)

// Exit decides what becomes of a bound copy that ended with a code: the agent
// asks by a bind with Exit, its op stepped. next is the epoch that the record
// takes if it goes back to the queue; wait is how long it backs off before it
// starts again (see [RestartDelay]). slot is the one that the record holds, and
// slotKey its key, if this copy is the bound one; otherwise as in [Bind].
//
//	not an exit of the bound copy (another node, epoch,
//	    digest or state)                    as [Bind]: no
//	op equal to the bound one or older      yes: the answer to an earlier question
//	on-failure with 0, or retries used up;
//	    "no" with any code                  done: DONE, slot released
//	node draining                           no: PENDING elsewhere
//	else, wait > 0                          wait (nothing is recorded)
//	else                                    yes: BOUND again, (session, op) := the question's
func Exit(r Record, slot Slot, slotKey string, node placement.NodeRecord, b placement.Bind, next placement.Epoch, wait time.Duration) (Record, Slot, Answer) {
	switch {
	case b.Digest != r.Digest || !r.Live() || !r.Bound.Is(b.Node, b.Epoch):
		return Bind(r, slot, slotKey, node, b)
	case b.At.Compare(r.Bound.At) <= 0:
		return r, slot, Answer{Verdict: placement.VerdictYes}
	}
	code := *b.Exit
	if why, done := ended(r, code); done {
		slot = slot.Without(r.ID)
		r.State, r.Bound, r.Last, r.Slot, r.Left = placement.Done, nil, nil, "", 0
		r.Exit, r.Why, r.Home = &code, why, b.Node
		return r, slot, Answer{Verdict: placement.VerdictDone, Changed: true}
	}
	if node.Draining || node.GivenUp {
		r.Exit = &code
		r, slot = requeue(r, slot, next)
		r.Last = nil
		return r, slot, Answer{Verdict: placement.VerdictNo, Changed: true, Reason: &placement.Reason{Code: placement.ReasonDraining}}
	}
	if wait > 0 {
		return r, slot, Answer{Verdict: placement.VerdictWait}
	}
	r.State = placement.Bound
	r.Exit = &code
	r.Restarts++
	r = r.heldBy(b.Node, b.Epoch, b.At)
	return r, slot, Answer{Verdict: placement.VerdictYes, Changed: true}
}

// ended tells whether the restart policy ends the placement at this exit.
func ended(r Record, code int) (string, bool) {
	why := fmt.Sprintf("exit code %d", code)
	switch r.Request.Restart {
	case placement.RestartNo:
		return why, true
	case placement.RestartOnFailure:
		if code == 0 {
			return why, true
		}
		if n := r.Request.Retries; n > 0 && r.Restarts >= n {
			return fmt.Sprintf("%s after %d restarts", why, r.Restarts), true
		}
	}
	return "", false
}

// Bounds of restarts of a copy that ends again and again.
const (
	RestartMax = 5 * time.Minute  // the longest wait
	RestartRan = 10 * time.Minute // having run so long, it counts as new
)

// RestartDelay is how long a copy that ended waits before it starts again: not
// at all the first time, then 1 s, doubled each time up to [RestartMax], times
// 0.75 to 1.25. u is uniform in [0, 1).
func RestartDelay(restarts int, u float64) time.Duration {
	if restarts <= 0 {
		return 0
	}
	d := RestartMax
	if restarts < 10 {
		d = min(d, time.Second<<(restarts-1))
	}
	return time.Duration(float64(d) * (0.75 + u/2))
}
