package placement

import "strings"

// Room is how full a node is.
type Room struct {
	Capacity Resources `json:"capacity"` // after the system's reserve
	Promised Resources `json:"promised"` // sum of the needs of all copies not proven gone
	Used     Resources `json:"used"`     // measured
	Copies   int       `json:"copies"`
}

// Free is what is not promised.
func (r Room) Free() Resources { return r.Capacity.Minus(r.Promised) }

// NodeState is how well a node is heard.
type NodeState string

// The states of a node, as users read them.
const (
	NodeReady    NodeState = "ready"
	NodeSuspect  NodeState = "suspect"  // not heard for 15 s, or one of its two processes is missing: no new work
	NodeSilent   NodeState = "silent"   // longer, but not yet given up
	NodeLost     NodeState = "lost"     // its placements were put back into the queue
	NodeDraining NodeState = "draining" // takes no new work and its replicas move away, by an operator's word
	NodeGivenUp  NodeState = "given-up" // by an operator's word: as lost, at once, until it registers again
)

// NodeStatus is one node as people see it, and as the broadcaster samples it.
type NodeStatus struct {
	Node     NodeID            `json:"node"`
	State    NodeState         `json:"state"`
	Address  string            `json:"address"` // host name or IP, without port
	Labels   map[string]string `json:"labels,omitempty"`
	Room     Room              `json:"room"`
	Agent    bool              `json:"agent"`    // agentd is connected
	Hostinfo bool              `json:"hostinfo"` // hostinfod is connected
	Silent   Millis            `json:"silent"`   // since the last word from either
	Alarms   []string          `json:"alarms,omitempty"`
	Unknown  []string          `json:"unknown,omitempty"` // containers of placements the ledger does not know: quarantined, each with why it was not taken in
}

// Reason says why a node passes on an offer, or why something failed.
type Reason struct {
	Code string `json:"code"`           // one of the Reason codes
	Need string `json:"need,omitempty"` // what was asked for, with its unit
	Have string `json:"have,omitempty"` // what there is, with its unit; for ha_token and ports: who holds it
	Text string `json:"text,omitempty"` // anything more, one line
	// Final says that no node can ever run the request: there is no such image
	// or command. When two nodes say so, the placement is DEAD.
	Final bool `json:"final,omitempty"`
	// Short is how much of Need is missing, in thousandths of a core or in
	// bytes: of nodes that pass for the same reason the one with the least came
	// closest. 0: it is no matter of amounts.
	Short int64 `json:"short,omitempty"`
	// Soon says that what is in the way is itself only racing for its claim: in
	// a moment it has it, or is gone. The same node is asked again then.
	Soon bool `json:"soon,omitempty"`
}

// NotAsked is the Text of the reason why a node was not asked at all; the Code
// says why: its state, "no_agent", or ReasonNode.
const NotAsked = "not asked"

// Codes of reasons. A lasting one holds until something changes on the node or
// in the request, so that the same node is not asked again in the same chain.
const (
	ReasonCPU      = "cpu"
	ReasonMemory   = "memory"
	ReasonDisk     = "disk"
	ReasonHAToken  = "ha_token"
	ReasonNode     = "node"        // another node is asked for
	ReasonHostPort = "host_port"   // taken on this node's address
	ReasonListen   = "listen_port" // taken in the shared net container
	ReasonLock     = "lock"        // another node took it first
	ReasonHeld     = "held"        // this node has a copy of the placement already
	ReasonDraining = "draining"
	ReasonStarting = "starting" // the agent is not registered yet
	ReasonDaemon   = "daemon"   // the owner's dockerd does not come up
	ReasonImage    = "image"    // cannot be pulled
	ReasonStart    = "start"    // Docker refused to create or start it
	ReasonSilence  = "silence"  // no answer in time
	ReasonBusy     = "busy"     // the node works on as many placements as it can
	ReasonBind     = "bind"     // the ledger said no
	ReasonNoLocks  = "no_locks" // the lock table cannot be reached from the node
)

// Lasting tells whether a node that passed for this reason would pass again a
// moment later: it is not asked again in the same chain of rounds.
func (r Reason) Lasting() bool {
	if r.Soon {
		return false
	}
	switch r.Code {
	case ReasonLock, ReasonNoLocks, ReasonStarting, ReasonSilence, ReasonBusy, ReasonBind:
		return false
	}
	return true
}

// String is "memory: need 2 GiB, have 1.2 GiB: text", or "ha_token web held by
// alice/shop/web/1" where Have says who holds what is needed.
func (r Reason) String() string {
	if r.Text == NotAsked {
		switch r.Code {
		case "no_agent":
			return "not asked: agentd is not connected"
		case ReasonNode:
			return "not asked: another node is wanted"
		}
		return "not asked: " + r.Code
	}
	s := r.Code
	switch {
	case r.Need != "" && strings.HasPrefix(r.Have, "held by "):
		s += " " + r.Need + " " + r.Have
	case r.Need != "" && r.Have != "":
		s += ": need " + r.Need + ", have " + r.Have
	case r.Need != "":
		s += ": need " + r.Need
	case r.Have != "":
		s += ": " + r.Have
	}
	if r.Text != "" {
		s += ": " + r.Text
	}
	return s
}
