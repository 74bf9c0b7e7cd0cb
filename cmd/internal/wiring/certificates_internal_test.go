package wiring

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"longshore/internal/pki"
	"longshore/internal/placement"
	"longshore/rpc"
)

type nodeStates map[placement.NodeID]placement.NodeState

func (s nodeStates) Nodes(context.Context) (all []placement.NodeStatus, err error) {
	for n, state := range s {
		all = append(all, placement.NodeStatus{Node: n, State: state})
	}
	return all, nil
}

// TestRenews: whoever shows a certificate gets another, unless it is revoked or
// the node's that is given up.
func TestRenews(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := pki.CreateAuthority(dir, "c1")
	if err != nil {
		t.Fatal(err)
	}
	i := issuer{authority: a, nodes: nodeStates{"n1": placement.NodeReady, "n2": placement.NodeGivenUp, "n3": placement.NodeSilent}, logger: slog.New(slog.DiscardHandler)}
	for who, want := range map[string]string{
		"agent/n1": "", "agent/n2": "node n2 is given up", "hostinfo/n2": "node n2 is given up", "agent/n3": "", "agent/n4": "",
		"user/n2": "", "operator/ops": "", "user/mallory": "user/mallory, of ",
	} {
		id, err := pki.Parse("c1", who)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "x")
		if err := a.IssueTo(out, id, nil, pki.LeafLife); err != nil {
			t.Fatal(err)
		}
		if id.Name == "mallory" {
			if _, err := pki.Revoke(dir, who); err != nil {
				t.Fatal(err)
			}
		}
		cert, err := pki.Certificate(out)
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.renew(t.Context(), &rpc.Call{Peer: rpc.Peer{Role: id.Role, Subject: id.Name, Certificate: cert}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", who, err)
		}
	}
}
