package broadcaster_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/broadcaster"
	"longshore/internal/placement"
	"longshore/rpc"
)

// TestExecReachesAllReplicas: each answers for itself, and one that hangs, is
// not there or does not run spoils nothing.
func TestExecReachesAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(3), plainImages)
		at := func(n int, node placement.NodeID, state placement.State) placement.Status {
			r := placement.NewReplica("alice", "shop", "web", n)
			return placement.Status{Replica: r, ID: r.Placement("00000000000000000001"), Node: node, State: state, Why: "no room"}
		}
		w.ledger.stands = []placement.Status{
			at(1, "n01", placement.Running), at(2, "n01", placement.Running), at(3, "n02", placement.Running),
			at(4, "n03", placement.Running), at(5, "", placement.Pending),
		}
		var mu sync.Mutex
		keys := map[string]bool{}
		run := rpc.Unary("", "command", func(ctx context.Context, c *rpc.Call, cmd map[string]any) (map[string]any, error) {
			who, key := told(c)
			mu.Lock()
			keys[key] = true
			mu.Unlock()
			if who != "operator" {
				t.Errorf("called for %q", who)
			}
			if cmd["container"] == "alice/shop/web/2.00000000000000000001" {
				return nil, &placement.Error{Kind: placement.KindRefused, What: "nothing can be run"}
			}
			return map[string]any{"stdout": cmd["argv"], "stderr": cmd["stdin"], "exit_code": 7, "max": cmd["max_output"]}, nil
		})
		hang := rpc.Unary("", "command", func(ctx context.Context, _ *rpc.Call, _ any) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		w.nodeServing("n01", takes, rpc.Methods{"exec": run})
		w.nodeServing("n02", takes, rpc.Methods{"exec": hang})
		c, ctx := w.dial("client", nil), t.Context()
		begin := time.Now()
		var got []broadcaster.Execed
		err := c.Call(ctx, "exec", &got, broadcaster.Exec{Owner: "alice", App: "shop", Argv: []string{"id"}, Stdin: []byte("x"), Timeout: 1000, Key: "k"})
		if took := time.Since(begin); err != nil || len(got) != 5 || took > 20*time.Second {
			t.Fatalf("%+v, %v after %v", got, err, took)
		}
		if g := got[0]; g.Replica != "alice/shop/web/1" || g.Node != "n01" || g.ExitCode != 7 || g.Error != nil || g.Stdout.([]any)[0] != "id" {
			t.Errorf("the first: %+v", g)
		}
		for i, kind := range map[int]string{1: placement.KindRefused, 2: placement.KindUnavailable, 3: placement.KindUnavailable, 4: placement.KindRefused} {
			if g := got[i]; g.Error == nil || g.Error.Kind != kind || g.ExitCode != -1 || g.Replica != w.ledger.stands[i].Replica {
				t.Errorf("replica %d: %+v, %+v", i+1, g, g.Error)
			}
		}
		if len(keys) != 2 || keys[""] || keys["k"] {
			t.Errorf("keys %v, want one for each replica", keys)
		}
		for name, bad := range map[string]broadcaster.Exec{
			"no app":  {Owner: "alice", Argv: []string{"id"}},
			"no argv": {Owner: "alice", App: "shop"},
			"name":    {Owner: "alice", App: "a b", Argv: []string{"id"}},
			"timeout": {Owner: "alice", App: "shop", Argv: []string{"id"}, Timeout: -1},
		} {
			t.Log(name)
			wantKind(t, c.Call(ctx, "exec", nil, bad), placement.KindInvalid)
		}
		w.ledger.stands = []placement.Status{}
		wantKind(t, c.Call(ctx, "exec", nil, broadcaster.Exec{Owner: "alice", App: "shop", Argv: []string{"id"}}), placement.KindNotFound)
	})
}
