package rule

import (
	"slices"

	"longshore/internal/placement"
)

// Record is the durable part of one placement.
type Record struct {
	V       int               `json:"v"` // [placement.Format]
	ID      placement.ID      `json:"id"`
	State   placement.State   `json:"state"`
	Epoch   placement.Epoch   `json:"epoch"`           // of the next offer
	Bound   *placement.Holder `json:"bound,omitempty"` // who may run it
	Last    *placement.Holder `json:"last,omitempty"`  // what may be adopted
	Slot    string            `json:"slot,omitempty"`  // key of the HA slot it holds
	Request placement.Request `json:"request"`
	Digest  string            `json:"digest"` // of Request

	Within   placement.Millis `json:"within,omitempty"`   // deadline as submitted; 0: none
	Left     placement.Millis `json:"left,omitempty"`     // what remains of it; 0: none, or it ran
	Expired  bool             `json:"expired,omitempty"`  // DEAD by its deadline: its copy is never adopted
	Gates    bool             `json:"gates,omitempty"`    // the rollout waits until it ran: it replaces one that did
	Restarts int              `json:"restarts,omitempty"` // since it last ran for long
	Exit     *int             `json:"exit,omitempty"`     // exit code of the last copy that ended
	Why      string           `json:"why,omitempty"`      // why DEAD, DONE or CANCELLED

	By    string           `json:"by,omitempty"`    // who stopped it (DONE); "": it ended by itself
	Again bool             `json:"again,omitempty"` // stopped, and to start again as soon as its copy is gone
	Home  placement.NodeID `json:"home,omitempty"`  // where it was when it became DONE; started again, it is offered there alone
}

// Live tells whether a node may run the placement now.
func (r Record) Live() bool { return r.State == placement.Bound || r.State == placement.Running }

// Leaving tells whether a copy that is not wanted any more is not proven gone:
// of a CANCELLED placement, or of a stopped one.
func (r Record) Leaving() bool { return r.Bound != nil && !r.Live() }

// Replica is the durable record of what people name: its lives that are not
// proven gone, oldest first, and which of them is wanted ("": none). Every
// submit, update and rm compares and writes it. One without lives and without
// a mark is deleted.
type Replica struct {
	V       int               `json:"v"`
	Replica placement.Replica `json:"replica"`
	Lives   []placement.Life  `json:"lives"`
	Wanted  placement.Life    `json:"wanted,omitempty"`
	Ended   *Ended            `json:"ended,omitempty"` // somebody destroyed it: no new life begins by itself
}

// Ended is the mark of a replica that somebody destroyed though its app wishes
// it. It holds as long as the app wishes the same request; see [Rollout].
type Ended struct {
	By     string `json:"by"`
	Digest string `json:"digest"` // of the request that the app wished
}

// Empty tells whether there is nothing to remember.
func (r Replica) Empty() bool { return len(r.Lives) == 0 && r.Ended == nil }

// Blocked tells whether the life has to wait until an older one is gone.
func (r Replica) Blocked(k placement.Life) bool { return len(r.Lives) > 0 && r.Lives[0] != k }

// Without is the replica after the life k is proven gone.
func (r Replica) Without(k placement.Life) Replica {
	r.Lives = slices.DeleteFunc(slices.Clone(r.Lives), func(l placement.Life) bool { return l == k })
	if r.Wanted == k {
		r.Wanted = ""
	}
	return r
}

// With is the replica with the wanted life k added; a mark ends with that.
func (r Replica) With(k placement.Life) Replica {
	r.Lives = append(slices.Clone(r.Lives), k)
	r.Wanted, r.Ended = k, nil
	return r
}

// Slot is the durable record of an HA slot: (owner, token, domain). It is held
// by one replica, through at most two of its placements; empty, it is free.
type Slot struct {
	V          int            `json:"v"`
	Placements []placement.ID `json:"placements,omitempty"`
}

// Free tells whether id may hold the slot, and who has it otherwise.
func (s Slot) Free(id placement.ID) (holder placement.Replica, ok bool) {
	if len(s.Placements) == 0 || slices.Contains(s.Placements, id) {
		return "", true
	}
	holder = s.Placements[0].Replica()
	return holder, holder == id.Replica() && len(s.Placements) < 2
}

// With is the slot held by id too.
func (s Slot) With(id placement.ID) Slot {
	if !slices.Contains(s.Placements, id) {
		s.Placements = append(slices.Clone(s.Placements), id)
	}
	return s
}

// Without is the slot after id released it.
func (s Slot) Without(id placement.ID) Slot {
	s.Placements = slices.DeleteFunc(slices.Clone(s.Placements), func(p placement.ID) bool { return p == id })
	return s
}

// App is the durable record of an app: the wish, the number of times it
// changed, and whether it was removed.
type App struct {
	V        int           `json:"v"`
	Owner    string        `json:"owner"`
	Name     string        `json:"name"`
	Wish     placement.App `json:"wish"`
	Revision uint64        `json:"revision"`
	Removed  bool          `json:"removed,omitempty"`
	// Since is a life drawn when the wish was made: lives above it were begun
	// for this wish, or for a later one.
	Since placement.Life `json:"since,omitempty"`
}

// Node is the durable record of a node.
type Node struct {
	V int `json:"v"`
	placement.NodeRecord
	Session uint64            `json:"session,omitempty"` // given at the last registration; 0: agentd never registered
	Link    uint64            `json:"link,omitempty"`    // number of hostinfod's last connection
	Mark    placement.Mark    `json:"mark"`              // shown at the last registration
	Roots   map[string]string `json:"roots,omitempty"`   // data-root of each owner's daemon
}

// Known tells whether the start of a ledger waits for the node.
func (n Node) Known() bool { return n.Session > 0 && !n.GivenUp }

// Tomb remembers a placement that ended and is proven gone, so that a copy
// which still meets it is stopped.
type Tomb struct {
	V     int              `json:"v"`
	ID    placement.ID     `json:"id"`
	Epoch placement.Epoch  `json:"epoch"`
	State placement.State  `json:"state"`
	Exit  *int             `json:"exit,omitempty"`
	Why   string           `json:"why,omitempty"`
	Left  placement.Millis `json:"left"` // kept for so long
}

// TombFor is how long a tombstone is kept: 30 days.
const TombFor = placement.Millis(30 * 24 * 3600 * 1000)

// Bury shrinks a record that is proven gone.
func Bury(r Record) Tomb {
	return Tomb{V: placement.Format, ID: r.ID, Epoch: r.Epoch, State: r.State, Exit: r.Exit, Why: r.Why, Left: TombFor}
}
