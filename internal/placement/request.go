package placement

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Millis is a duration in milliseconds, the only form in which time travels.
type Millis int64

// Duration is m as Go counts time.
func (m Millis) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Resources is an amount of what a node has and a placement needs.
type Resources struct {
	CPU    int64 `json:"cpu"`    // thousandths of a core
	Memory int64 `json:"memory"` // bytes
	Disk   int64 `json:"disk"`   // bytes
}

// Plus is the sum of both.
func (r Resources) Plus(o Resources) Resources {
	return Resources{CPU: r.CPU + o.CPU, Memory: r.Memory + o.Memory, Disk: r.Disk + o.Disk}
}

// Minus is what is left of r after o is taken; it may be negative.
func (r Resources) Minus(o Resources) Resources {
	return Resources{CPU: r.CPU - o.CPU, Memory: r.Memory - o.Memory, Disk: r.Disk - o.Disk}
}

// Fits tells whether r has at least o of everything.
func (r Resources) Fits(o Resources) bool {
	return r.CPU >= o.CPU && r.Memory >= o.Memory && r.Disk >= o.Disk
}

// Port publishes a container's port on its node.
type Port struct {
	Container uint16 `json:"container"`       // port that the service listens on
	Host      uint16 `json:"host"`            // port of the node's address; 0: published nowhere
	Proto     string `json:"proto,omitempty"` // "tcp" (default, "" means it) or "udp"
}

// Restart policies, as Compose names them. Longshore carries them out itself;
// Docker's own restart policy is always "no".
const (
	RestartAlways    = ""           // also Compose's "always" and "unless-stopped": kept running
	RestartOnFailure = "on-failure" // exit code 0 ends it DONE
	RestartNo        = "no"         // any exit ends it DONE
)

// Net container choices of a request.
const (
	NetShared  = ""        // joins the owner's net container on the node
	NetReplica = "replica" // gets a net container of its own
)

// Request is what a placement needs. It never changes: a changed request is a
// new placement. It may hold secrets (Env), so it is never put into labels,
// logs or arguments.
type Request struct {
	V       int       `json:"v"`                 // [Format]
	Image   string    `json:"image"`             // always by digest: "owner/name@sha256:..." of the cluster's registry, or "host/name@sha256:..."
	Command []string  `json:"command,omitempty"` // nil: the image's own
	Env     []string  `json:"env,omitempty"`     // "NAME=value", sorted by name
	Needs   Resources `json:"needs"`             // reserved; CPU or Memory 0: the node's default
	Limits  Resources `json:"limits"`            // CPU and Memory caps; 0: none
	Ports   []Port    `json:"ports,omitempty"`
	Listen  []uint16  `json:"listen,omitempty"` // TCP ports it listens on in its net container, Ports' included, sorted
	Restart string    `json:"restart,omitempty"`
	Retries int       `json:"retries,omitempty"` // with on-failure: at most so many restarts; 0: no bound

	HAToken   string `json:"ha_token,omitempty"`   // replicas of one owner with the same token never share a domain
	HADomain  string `json:"ha_domain,omitempty"`  // "" or "node", "rack", "zone"
	Net       string `json:"net,omitempty"`        // [NetShared] or [NetReplica]
	Node      NodeID `json:"node,omitempty"`       // only this node
	LostAfter Millis `json:"lost_after,omitempty"` // silence after which it counts as lost; 0: the default, 30 s
}

// Digest identifies the request: "sha256:" and the hash of its JSON form.
func (r Request) Digest() string {
	b, err := json.Marshal(r)
	if err != nil { // a Request holds only strings and numbers
		panic(err)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
