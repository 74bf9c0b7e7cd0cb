package placement

// What a Wish wishes. Each is a transition of the ledger, so that failover does
// not undo what a person or a script did on one node.
const (
	WishStop    = "stop"    // DONE, "stopped by" By; what waits and what runs alike
	WishStart   = "start"   // of one that is DONE or DEAD: PENDING, next epoch, offered to Node alone
	WishDestroy = "destroy" // CANCELLED, and its replica is not wanted any more
	WishCreate  = "create"  // a submit of Container, pinned to Node
	WishDrain   = "drain"   // Node takes no new work and its replicas move away, or with Off it takes work again
)

// Wish is what an agent asks of the ledger for somebody on its node, by the
// method "wish". It may speak only for its own node: a wish about a placement
// that is bound elsewhere is refused ([KindRefused]). The same wish again
// changes nothing, and is answered as if it had been done now.
type Wish struct {
	V         int        `json:"v"` // [Format]
	Cluster   string     `json:"cluster"`
	Node      NodeID     `json:"node"`
	Verb      string     `json:"verb"`
	ID        ID         `json:"id,omitempty"`        // of stop, start and destroy
	Container *Container `json:"container,omitempty"` // of create
	Off       bool       `json:"off,omitempty"`       // of drain
	By        string     `json:"by"`                  // who wishes, "operator/bob"
}

// Wished answers a wish once it is durable.
type Wished struct {
	Mark      Mark  `json:"mark"`
	ID        ID    `json:"id,omitempty"` // of the placement; of create, the new one
	Epoch     Epoch `json:"epoch,omitempty"`
	State     State `json:"state,omitempty"` // of the placement, now
	Unchanged bool  `json:"unchanged"`       // it was so already
	// Stop is what is to be stopped on the node that wished, if anything: the
	// agent does it at once, and need not wait for the order.
	Stop *StopOrder `json:"stop,omitempty"`
}

// Container is one container in one call: an app's service with one replica.
type Container struct {
	ID       string   `json:"id"`                  // "owner/app/service"; the same again changes nothing
	Image    string   `json:"image"`               // a tag or a digest
	Command  []string `json:"command,omitempty"`   // nil: the image's own
	Env      []string `json:"env,omitempty"`       // "NAME=value"
	Memory   int64    `json:"memory,omitempty"`    // bytes, reserved and the cap; 0: the node's default, and no cap
	CPUs     float64  `json:"cpus,omitempty"`      // cores, reserved; 0: the node's default
	Disk     int64    `json:"disk,omitempty"`      // bytes, reserved
	Ports    []Port   `json:"ports,omitempty"`     // on the node's address
	Restart  string   `json:"restart,omitempty"`   // as of [Request]
	HAToken  string   `json:"ha_token,omitempty"`  // as of [Request]
	HADomain string   `json:"ha_domain,omitempty"` // as of [Request]
	Node     NodeID   `json:"node,omitempty"`      // only this node
}

// CallerKey is the key of a call's header by which a broadcaster that passes a
// call on to a node tells for whom: "role/name". Nodes believe it on their link
// to the broadcaster alone.
const CallerKey = "caller"
