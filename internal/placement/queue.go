package placement

// Try is one turn of a waiting placement: it is due, and in the hands of
// whoever took it from the queue until that one settles it.
type Try struct {
	ID       ID      `json:"id"`
	Epoch    Epoch   `json:"epoch"`
	Mark     Mark    `json:"mark"`
	Request  Request `json:"request"`
	Tries    int     `json:"tries"`    // chains of rounds before this one, since it last ran
	Lockless bool    `json:"lockless"` // the last whole chain failed on claims alone
	// Barred are the nodes in whose domain another replica holds the HA token:
	// a bind there would be a no, so they need not be asked. They count as
	// passes of the outcome.
	Barred []Pass `json:"barred,omitempty"`
	// Node is the only one to ask, beside what the request says: there it was
	// before somebody started it again. "": any.
	Node  NodeID `json:"node,omitempty"`
	Trace string `json:"trace,omitempty"` // W3C traceparent of what it is part of; "" none
}

// Outcome settles a try.
type Outcome struct {
	Taken   NodeID         `json:"taken,omitempty"` // "" if every eligible node passed
	Asked   int            `json:"asked"`           // nodes that were sent the offer
	Passes  []Pass         `json:"passes,omitempty"`
	Ignored map[string]int `json:"ignored,omitempty"` // nodes not asked, by reason code: draining, suspect ...
}

// Pass is one node's refusal.
type Pass struct {
	Node   NodeID `json:"node"`
	Reason Reason `json:"reason"`
}

// Filter chooses placements. A field that is "" chooses all.
type Filter struct {
	Owner   string  `json:"owner,omitempty"`
	App     string  `json:"app,omitempty"`
	Service string  `json:"service,omitempty"`
	Replica Replica `json:"replica,omitempty"`
	Node    NodeID  `json:"node,omitempty"`
	All     bool    `json:"all,omitempty"` // also lives that ended or are being replaced
}

// NodeRecord is what the ledger durably knows of a node, beside its reports.
type NodeRecord struct {
	Node     NodeID            `json:"node"`
	Address  string            `json:"address"`
	Reported map[string]string `json:"reported,omitempty"` // labels by the node's own word: arch, os ...
	Labels   map[string]string `json:"labels,omitempty"`   // labels by the operator's word: zone, rack ...
	Draining bool              `json:"draining,omitempty"`
	GivenUp  bool              `json:"given_up,omitempty"`
}

// Domain is the failure domain of the node in the scope of a request's
// HADomain: the node itself, or its zone or rack by the operator's word; a
// node without that label is a domain of its own.
func (n NodeRecord) Domain(scope string) string {
	if scope == "" || scope == "node" {
		return "node=" + string(n.Node)
	}
	if v := n.Labels[scope]; v != "" {
		return scope + "=" + v
	}
	return "node=" + string(n.Node)
}

// NodeChange is an operator's word about a node. Nil leaves as is; a label
// with the value "" is removed.
type NodeChange struct {
	Node   NodeID            `json:"node"`
	Labels map[string]string `json:"labels,omitempty"`
	Drain  *bool             `json:"drain,omitempty"`
	GiveUp *bool             `json:"give_up,omitempty"`
}

// Silence says that a node, or one owner's daemon on it, has not been heard
// for so long, and how much of what it held may be put back now.
type Silence struct {
	Node        NodeID `json:"node"`
	Owner       string `json:"owner,omitempty"` // "": the whole node
	For         Millis `json:"for"`
	HostAnswers bool   `json:"host_answers"` // then nothing is lost before 300 s
	Max         int    `json:"max"`          // put back at most so many now; the caller asks again
}
