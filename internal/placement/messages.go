package placement

// The messages between broadcaster and node. Each carries the cluster's ID;
// a node serves one cluster and refuses the words of another.

// Register is agentd's word at each of its starts and with each started
// ledger. The agent finds the sweep of never-started copies done before it
// stores the session it is given.
type Register struct {
	V       int               `json:"v"`       // [Format]
	Cluster string            `json:"cluster"` // "" if the node serves none yet
	Node    NodeID            `json:"node"`
	Session uint64            `json:"session"` // in its file; 0: none
	Mark    Mark              `json:"mark"`    // the highest it has seen
	Address string            `json:"address"`
	Labels  map[string]string `json:"labels,omitempty"` // arch, os, kernel ...
}

// Registered answers a registration.
type Registered struct {
	Mark    Mark   `json:"mark"`
	Cluster string `json:"cluster"`
	Session uint64 `json:"session"` // above its own last and the one shown
}

// Offer asks an agent to take a placement. Losing, repeating or delaying it is
// harmless: the bind decides.
type Offer struct {
	Mark     Mark    `json:"mark"`
	Cluster  string  `json:"cluster"`
	ID       ID      `json:"id"`
	Epoch    Epoch   `json:"epoch"`
	Request  Request `json:"request"`
	Valid    Millis  `json:"valid"`    // from receipt
	Lockless bool    `json:"lockless"` // skip the claim
}

// OfferAnswer is take or pass.
type OfferAnswer struct {
	Taken bool `json:"taken"`
	// Reason is that of a pass. A take has one, ReasonNoLocks, if the lock table
	// could not be reached: the broadcaster then offers to one node at a time.
	Reason Reason `json:"reason"`
}

// Progress is the word of a node that works on an offer: when it took it, and
// every 5 s.
type Progress struct {
	Cluster string `json:"cluster"`
	Node    NodeID `json:"node"`
	ID      ID     `json:"id"`
	Epoch   Epoch  `json:"epoch"`
	Phase   string `json:"phase"` // "locked", "pulling 12 of 80 MB", "creating", "binding", "starting"
	// Given is set when the node gave the offer up before binding it, and says why.
	Given *Reason `json:"given,omitempty"`
}

// Bind asks the ledger whether this node may start this epoch; with Exit, what
// to do with a copy that ended.
type Bind struct {
	Cluster string    `json:"cluster"`
	Node    NodeID    `json:"node"`
	ID      ID        `json:"id"`
	Epoch   Epoch     `json:"epoch"`
	Digest  string    `json:"digest"` // of the request the copy was made from
	At      SessionOp `json:"at"`
	Exit    *int      `json:"exit,omitempty"` // exit code of a copy that was started and ended
}

// Verdicts of a bind.
const (
	VerdictYes   = "yes"   // start it
	VerdictNo    = "no"    // remove it
	VerdictWait  = "wait"  // ask again after Wait (the ledger holds, or backs off a restart)
	VerdictDone  = "done"  // it ended for good: keep it stopped until ordered to remove it
	VerdictStale = "stale" // register again, then ask again
)

// BindAnswer counts only for the bind with the same At, and only for 5 s from
// that bind's sending.
type BindAnswer struct {
	Mark    Mark      `json:"mark"`
	At      SessionOp `json:"at"`
	Verdict string    `json:"verdict"`
	Wait    Millis    `json:"wait,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// Failed says that Docker refused to start a bound copy; it is removed already.
type Failed struct {
	Cluster string    `json:"cluster"`
	Node    NodeID    `json:"node"`
	ID      ID        `json:"id"`
	Epoch   Epoch     `json:"epoch"`
	At      SessionOp `json:"at"`
	Reason  Reason    `json:"reason"`
}

// StopOrder names exactly one copy that must not run. The agent stops and
// removes it; an order for a copy that is not there is done already.
type StopOrder struct {
	Mark    Mark   `json:"mark"`
	Cluster string `json:"cluster"`
	ID      ID     `json:"id"`
	Epoch   Epoch  `json:"epoch"`
	Why     string `json:"why"`
}

// CopyState is what a container does.
type CopyState string

// What Docker says of a copy. Created is neither absent nor running.
const (
	CopyCreated CopyState = "created"
	CopyRunning CopyState = "running"
	CopyExited  CopyState = "exited"
	CopyGone    CopyState = "gone" // an event's word only; it proves nothing, a listing does
)

// Copy is one container of ours on a node, as its labels and its daemon tell.
type Copy struct {
	ID     ID        `json:"id"`
	Epoch  Epoch     `json:"epoch"`
	Gen    uint64    `json:"gen"`
	Digest string    `json:"digest"` // of its request
	State  CopyState `json:"state"`
	Exit   int       `json:"exit,omitempty"`
	Needs  Resources `json:"needs"`
}

// DaemonListing says whether an owner's daemon could be listed. A daemon that
// could not says nothing about its copies; nor does one whose data-root is not
// the recorded one.
type DaemonListing struct {
	Owner string `json:"owner"`
	OK    bool   `json:"ok"`
	Root  string `json:"root"` // identity of its data-root
	Err   string `json:"err,omitempty"`
}

// Link answers hostinfod's first call on a connection: (link, seq) orders its
// reports.
type Link struct {
	Mark    Mark   `json:"mark"`
	Cluster string `json:"cluster"`
	Link    uint64 `json:"link"`
}

// Report is hostinfod's word about its node. hostinfod reads the agent's op
// file, then lists, then sends.
type Report struct {
	V       int             `json:"v"` // [Format]
	Cluster string          `json:"cluster"`
	Node    NodeID          `json:"node"`
	Link    uint64          `json:"link"`
	Seq     uint64          `json:"seq"`
	At      *SessionOp      `json:"at,omitempty"`   // nil: no readable op file, so presence only, never absence
	Full    bool            `json:"full"`           // a complete listing; otherwise Copies holds what one event told
	Same    string          `json:"same,omitempty"` // digest of an acknowledged listing that this one equals; Copies and Daemons are empty
	Daemons []DaemonListing `json:"daemons,omitempty"`
	Copies  []Copy          `json:"copies,omitempty"`
	Room    Room            `json:"room"`
}

// ReportAnswer acknowledges a report once its transitions are durable.
type ReportAnswer struct {
	Mark    Mark      `json:"mark"`
	Resend  bool      `json:"resend"` // the digest of Same is not known here: send the listing
	Unknown []Unknown `json:"unknown,omitempty"`
}

// Unknown is a copy that a node listed of a placement that the ledger does not
// know: it is in quarantine, shown and never stopped.
type Unknown struct {
	ID  ID     `json:"id"`
	Why string `json:"why"` // it was not taken in
}

// Hello opens hostinfod's link.
type Hello struct {
	V       int    `json:"v"` // [Format]
	Cluster string `json:"cluster"`
	Node    NodeID `json:"node"`
}

// Beat says that a process of a node lives. It is sent each second on its link.
type Beat struct {
	Cluster string `json:"cluster"`
	Node    NodeID `json:"node"`
	Role    string `json:"role"`
	Alarm   string `json:"alarm,omitempty"` // what an operator should know; "": all is well
}
