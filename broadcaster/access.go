package broadcaster

import (
	"longshore/internal/placement"
	"longshore/rpc"
)

// owns refuses a user who names another owner. Every client method that names
// an owner asks it before it does anything.
func owns(c *rpc.Call, owner string) error {
	return placement.MayTouch(c.Peer.Role, c.Peer.Subject, owner)
}

// narrow checks a filter, and refuses a user who names another owner in it. A
// user's filter without an owner means their own.
func narrow(c *rpc.Call, f placement.Filter) (placement.Filter, error) {
	if err := checkFilter(f); err != nil {
		return f, err
	}
	if f.Owner == "" && c.Peer.Role == placement.RoleUser {
		f.Owner = c.Peer.Subject
	}
	if f.Owner != "" {
		if err := owns(c, f.Owner); err != nil {
			return f, err
		}
	}
	if f.Replica != "" {
		return f, owns(c, f.Replica.Owner())
	}
	return f, nil
}

// speaksAs refuses a process that is not that node's agent.
func speaksAs(c *rpc.Call, node placement.NodeID) error {
	return placement.MaySpeak(c.Peer.Role, c.Peer.Subject, placement.RoleAgent, node)
}
