package placement

// App is what `schedctl submit` hands in: what an owner wants to run. Images
// may still be tags; the broadcaster turns them into digests before it stores
// the app.
type App struct {
	V        int       `json:"v"` // [Format]
	Owner    string    `json:"owner"`
	Name     string    `json:"name"`
	Services []Service `json:"services"` // sorted by name
}

// Service is a request that is wanted Replicas times.
type Service struct {
	Name     string  `json:"name"`
	Replicas int     `json:"replicas"` // 0 to 10,000
	Request  Request `json:"request"`
	Deadline Millis  `json:"deadline,omitempty"` // a replica not running after so long is DEAD; 0: never
}

// Submitted is the answer to a submit: durable when it is given.
type Submitted struct {
	Owner     string    `json:"owner"`
	App       string    `json:"app"`
	Revision  uint64    `json:"revision"`  // grows with each submit that changes something
	Unchanged bool      `json:"unchanged"` // the same app was there already
	Added     []Replica `json:"added,omitempty"`
	Changed   []Replica `json:"changed,omitempty"` // replaced one by one
	Removed   []Replica `json:"removed,omitempty"`
	// Destroyed are wished, and stay away: somebody destroyed them, and their
	// request did not change since.
	Destroyed []Replica `json:"destroyed,omitempty"`
	// Digests names the request of each service, by its name: a replica is up
	// to date when its wanted life's Status bears it.
	Digests map[string]string `json:"digests,omitempty"`
}

// State is where a placement is in its life.
//
//	             offer, bind            report
//	PENDING ------------------> BOUND ----------> RUNNING
//	   ^ ^----- lost, failed ----+------------------+
//	   |                                            | exit
//	   +-- retry, start -- DEAD (deadline, cannot run)
//	   +-- start --------- DONE (policy; or stopped, from any of these)
//	any --- rm, update, scale down, destroy ---> CANCELLED
type State string

// The states, and the words that users read for them.
const (
	Pending   State = "PENDING"   // waiting
	Bound     State = "BOUND"     // starting
	Running   State = "RUNNING"   // running
	Done      State = "DONE"      // done
	Dead      State = "DEAD"      // failed
	Cancelled State = "CANCELLED" // removed
)

// Word is what a user reads for the state.
func (s State) Word() string {
	switch s {
	case Pending:
		return "waiting"
	case Bound:
		return "starting"
	case Running:
		return "running"
	case Done:
		return "done"
	case Dead:
		return "failed"
	case Cancelled:
		return "removed"
	}
	return string(s)
}

// Status is one placement as people see it, in `ps`, `status`, `explain` and
// in the stream of events.
type Status struct {
	Replica  Replica   `json:"replica"`
	ID       ID        `json:"id"`
	State    State     `json:"state"`
	Wanted   bool      `json:"wanted"` // the newest life of its replica, not one being replaced or removed
	Node     NodeID    `json:"node,omitempty"`
	Address  string    `json:"address,omitempty"` // of the node
	Epoch    Epoch     `json:"epoch,omitempty"`
	Digest   string    `json:"digest"` // of its request
	Image    string    `json:"image"`
	Ports    []Port    `json:"ports,omitempty"`
	Needs    Resources `json:"needs"`
	HAToken  string    `json:"ha_token,omitempty"`
	HADomain string    `json:"ha_domain,omitempty"` // "": node
	Pinned   bool      `json:"pinned,omitempty"`    // to one node, by its request
	Since    Millis    `json:"since"`               // in this state for so long; as far back as this broadcaster knows
	Phase    string    `json:"phase,omitempty"`
	Why      string    `json:"why,omitempty"` // why it waits, failed or ended, one line
	ExitCode int       `json:"exit_code"`
	Tries    int       `json:"tries,omitempty"`
	NextTry  Millis    `json:"next_try,omitempty"` // until it is offered again
	Refusals []Refusal `json:"refusals,omitempty"` // of the last chain of rounds; `explain` only
	Trace    string    `json:"trace,omitempty"`    // ID of the last trace of its way to a node; `explain` only
}

// Refusal sums up the nodes that passed on an offer for one reason.
type Refusal struct {
	Reason Reason   `json:"reason"` // of the node that came closest
	Nodes  int      `json:"nodes"`  // how many passed with this code
	Names  []NodeID `json:"names"`  // three of them
}

// Event is one change of a placement, or a snapshot of it when a stream
// begins.
type Event struct {
	Status
	Rev uint64 `json:"rev"` // the ledger's revision after the change
	// Synced ends the snapshot: the one event without a replica.
	Synced bool `json:"synced,omitempty"`
}
