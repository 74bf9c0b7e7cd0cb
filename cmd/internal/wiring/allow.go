package wiring

import (
	"fmt"
	"slices"
	"strings"

	"longshore/internal/placement"
	"longshore/rpc"
)

// grants is who may call what: method to roles. A method without a line is
// nobody's who has a role. Whose things a method may touch is checked by the
// method itself (placement.MayTouch, placement.MaySpeak).
type grants map[string][]string

// broadcasterGrants is the table of what a broadcaster serves.
func broadcasterGrants() grants {
	var (
		agent    = []string{placement.RoleAgent, placement.RoleOperator}
		hostinfo = []string{placement.RoleHostinfo, placement.RoleOperator}
		node     = []string{placement.RoleAgent, placement.RoleHostinfo, placement.RoleOperator}
		people   = []string{placement.RoleUser, placement.RoleOperator}
		operator = []string{placement.RoleOperator}
		all      = []string{placement.RoleAgent, placement.RoleHostinfo, placement.RoleBroadcaster, placement.RoleUser, placement.RoleOperator}
	)
	return grants{
		"submit":        people,
		"remove":        people,
		"retry":         people,
		"run":           people,
		"stop":          people,
		"start":         people,
		"destroy":       people,
		"status":        people,
		"queue":         people,
		"explain":       people,
		"events":        people,
		"history":       people,
		"trace":         people,
		"spans_add":     people,
		"spans":         operator,
		"nodes":         people,
		"node_change":   operator,
		"guard_release": operator,
		"ledger_backup": operator,
		"exec":          people,
		"call":          people, // nodes ask whether that person may
		"call_stream":   people,
		"registry":      all,
		"info":          all,

		"certificate_renew": all, // of whoever shows it

		"register": agent,
		"bind":     agent,
		"failed":   agent,
		"wish":     agent,
		"progress": agent,
		"beat":     node,
		"link":     hostinfo,
		"report":   hostinfo,
	}
}

// nodeGrants is the table of what agentd and hostinfod serve, on their sockets
// and on their links to the broadcaster.
func nodeGrants() grants {
	var (
		broadcaster = []string{placement.RoleBroadcaster}
		both        = []string{placement.RoleBroadcaster, placement.RoleOperator}
		people      = []string{placement.RoleBroadcaster, placement.RoleOperator, placement.RoleUser}
	)
	return grants{
		"offer":   broadcaster,
		"stop":    broadcaster,
		"request": broadcaster,
		"copies":  both,
		"daemons": both,
		"room":    both,
		"info":    both,
		"drain":   both,

		"container_list":    people,
		"container_inspect": people,
		"container_create":  people,
		"container_start":   people,
		"container_stop":    people,
		"container_destroy": people,
		"container_logs":    people,
		"container_stats":   people,
		"exec":              people,
		"exec_stream":       people,
		"cp_in":             people,
		"cp_out":            people,
		"port_add":          people,
		"port_remove":       people,
		"port_list":         people,
		"image_list":        people,
		"capacity":          people,
		"refusals":          people,
		"spans":             both,
	}
}

// allow asks the table before each call. What a stock client asks about the
// service itself is everybody's. A caller without a role is one of this
// machine, or let in by --insecure, and may do everything: plain TCP is
// listened on nowhere else.
func (g grants) allow(c *rpc.Call) error {
	role := c.Peer.Role
	roles, known := g[c.Method]
	if role == "" || !known && strings.HasPrefix(c.Method, "_zerorpc_") || slices.Contains(roles, role) {
		return nil
	}
	why := fmt.Sprintf("it is for %s", strings.Join(roles, ", "))
	if !known {
		why = "no role may"
	}
	return &placement.Error{
		Kind: placement.KindRefused,
		What: fmt.Sprintf("%s/%s may not call %.100s", role, c.Peer.Subject, c.Method),
		Why:  why,
		Next: "call it with a certificate of such a role, or on the machine's own socket",
	}
}
