package wiring

import (
	"maps"
	"slices"
	"testing"

	"longshore/agent"
	"longshore/agent/console"
	"longshore/broadcaster"
	"longshore/hostinfo"
	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

// TestEveryMethodHasALine: a method that nobody thought about is nobody's, and
// a line of the table is a method.
func TestEveryMethodHasALine(t *testing.T) {
	t.Parallel()
	caster := (*broadcaster.Broadcaster)(nil)
	for name, c := range map[string]struct {
		table  grants
		served []rpc.Methods
	}{
		"broadcasterd": {broadcasterGrants(), []rpc.Methods{caster.ClientMethods(), caster.NodeMethods(), (*hostinfo.Collector)(nil).Methods(), issuer{}.methods(), (*trace.Tracer)(nil).Methods()}},
		"a node":       {nodeGrants(), []rpc.Methods{(*agent.Agent)(nil).Methods(), (*agent.Agent)(nil).LinkMethods(), new(console.Console).Methods(), (*hostinfo.Watcher)(nil).Methods(), (*trace.Tracer)(nil).Methods()}},
	} {
		served := rpc.Methods{}
		for _, m := range c.served {
			maps.Copy(served, m)
		}
		for method := range served {
			if _, ok := c.table[method]; !ok {
				t.Errorf("%s serves %s, and no line of its table says who may call it", name, method)
			}
		}
		for method, roles := range c.table {
			if _, ok := served[method]; !ok {
				t.Errorf("%s has a line for %s, which it does not serve", name, method)
			}
			if len(roles) == 0 {
				t.Errorf("%s: %s is nobody's", name, method)
			}
		}
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	table := broadcasterGrants()
	for _, c := range []struct {
		role, method string
		want         bool
	}{
		{placement.RoleUser, "submit", true},
		{placement.RoleUser, "node_change", false},
		{placement.RoleUser, "register", false},
		{placement.RoleUser, "_zerorpc_list", true},
		{placement.RoleUser, "made_up", false},
		{placement.RoleAgent, "register", true},
		{placement.RoleAgent, "link", false},
		{placement.RoleAgent, "submit", false},
		{placement.RoleHostinfo, "report", true},
		{placement.RoleHostinfo, "bind", false},
		{placement.RoleOperator, "node_change", true},
		{placement.RoleOperator, "made_up", false},
		{placement.RoleBroadcaster, "submit", false},
		{"someone", "submit", false},
		{"", "made_up", true}, // the dispatcher says that there is none
	} {
		err := table.allow(&rpc.Call{Method: c.method, Peer: rpc.Peer{Role: c.role, Subject: "x"}})
		if (err == nil) != c.want {
			t.Errorf("%s calls %s: %v", c.role, c.method, err)
		}
	}
	if !slices.Equal(nodeGrants()["offer"], []string{placement.RoleBroadcaster}) {
		t.Error("others than a broadcaster may offer")
	}
	if rpc.RoleOperator != placement.RoleOperator || rpc.RoleUser != placement.RoleUser {
		t.Error("a socket's roles are others than those of the table")
	}
}
