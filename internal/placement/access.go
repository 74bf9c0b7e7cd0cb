package placement

import "fmt"

// Roles of those who call methods. With a name behind it a role is an
// identity: agent/n7, hostinfo/n7, broadcaster/b1, operator/bob, user/alice.
const (
	RoleAgent       = "agent"       // a node's agentd
	RoleHostinfo    = "hostinfo"    // a node's hostinfod
	RoleBroadcaster = "broadcaster" // a broadcaster
	RoleOperator    = "operator"    // a person who may touch everything
	RoleUser        = "user"        // a person who may touch what is their own
)

// MayTouch refuses a user who names what belongs to another owner. An operator
// may name everything. A caller without a role is let in only by links that
// others cannot reach, and may do what an operator may.
func MayTouch(role, name, owner string) error {
	if role == "" || role == RoleOperator || role == RoleUser && name == owner && owner != "" {
		return nil
	}
	return &Error{
		Kind: KindRefused,
		What: fmt.Sprintf("%s/%s may not touch what %.63q owns", role, name, owner),
		Why:  "only an operator may name another's apps",
		Next: "name your own, or ask an operator",
	}
}

// MaySpeak refuses a process that speaks as what it is not: as another node,
// or in another role. Callers without a role pass, as in [MayTouch], and so
// does an operator, who stands in for anything by hand.
func MaySpeak(role, name, as string, node NodeID) error {
	if role == "" || role == RoleOperator || role == as && name == string(node) {
		return nil
	}
	return &Error{
		Kind: KindRefused,
		What: fmt.Sprintf("%s/%s may not speak as the %s of node %.63q", role, name, as, node),
		Why:  "a node's process speaks for its own node alone, by its certificate",
		Next: "give --node the name in the certificate, or issue one for this node",
	}
}
