package broadcaster

import (
	"testing"

	"longshore/internal/placement"
	"longshore/rpc"
)

func as(role, name string) *rpc.Call {
	return &rpc.Call{Peer: rpc.Peer{Role: role, Subject: name}}
}

func TestOwns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role, name, owner string
		want              bool
	}{
		{"user", "alice", "alice", true},
		{"user", "alice", "bob", false},
		{"user", "alice", "", false},
		{"user", "", "", false},
		{"operator", "bob", "alice", true},
		{"", "", "alice", true},
		{"agent", "alice", "alice", false},
	} {
		if err := owns(as(c.role, c.name), c.owner); (err == nil) != c.want {
			t.Errorf("%s/%s touches what %q owns: %v", c.role, c.name, c.owner, err)
		}
	}
}

func TestNarrow(t *testing.T) {
	t.Parallel()
	alice := as("user", "alice")
	got, err := narrow(alice, placement.Filter{App: "shop"})
	if err != nil || got.Owner != "alice" || got.App != "shop" {
		t.Errorf("a filter without owner: %+v, %v", got, err)
	}
	if got, err = narrow(as("operator", "bob"), placement.Filter{}); err != nil || got.Owner != "" {
		t.Errorf("an operator's filter: %+v, %v", got, err)
	}
	for _, f := range []placement.Filter{
		{Owner: "bob"}, {Replica: "bob/shop/web/1"}, {Owner: "alice", Replica: "bob/shop/web/1"}, {Owner: "a/b"},
	} {
		if got, err := narrow(alice, f); err == nil {
			t.Errorf("%+v became %+v", f, got)
		}
	}
}

func TestSpeaksAs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role, name string
		want       bool
	}{{"agent", "n7", true}, {"agent", "n8", false}, {"hostinfo", "n7", false}, {"user", "n7", false}, {"operator", "root", true}, {"", "", true}} {
		if err := speaksAs(as(c.role, c.name), "n7"); (err == nil) != c.want {
			t.Errorf("%s/%s speaks for n7: %v", c.role, c.name, err)
		}
	}
}
