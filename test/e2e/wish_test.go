package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"longshore/broadcaster"
	"longshore/internal/placement"
	"longshore/test/cluster"
)

// TestWishesHold: what a script says about a container on its node outlives the
// node's agent, the node and the broadcaster.
func TestWishesHold(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 2})
	c.PushHello("alice", "hello:latest")
	file := c.File("app.yaml", "name: app\nservices:"+service("web", 1, 9600, "", "hi"))
	c.Must("submit", file, "--owner", "alice")
	w := wisher{t, c}
	first := w.is(web, placement.Running)
	n := c.Nodes[0]
	if first.Node == placement.NodeID(c.Nodes[1].Name) {
		n = c.Nodes[1]
	}
	s := onNode(t, n)

	var did placement.Wished
	s.must("container_stop", &did, web)
	if did.State != placement.Done || did.ID != first.ID {
		t.Fatalf("stop: %+v", did)
	}
	var copies []placement.Copy
	if s.must("container_list", &copies); len(copies) != 0 {
		t.Errorf("stop answered before the copy was gone: %+v", copies)
	}
	s.must("container_stop", &did, web) // again
	n.Agent.Kill()
	give := true
	if err := c.Call("node_change", nil, placement.NodeChange{Node: placement.NodeID(n.Name), GiveUp: &give}); err != nil {
		t.Fatal(err)
	}
	c.Must("submit", c.File("probe.yaml", "name: probe\nservices:"+service("web", 1, 9700, "", "hi")), "--owner", "alice") // failover works
	if p := w.is("alice/probe/web/1", placement.Running); p.Node == first.Node {
		t.Errorf("the probe runs on the node that was given up")
	}
	if stopped := w.is(web, placement.Done); !strings.HasPrefix(stopped.Why, "stopped by operator") {
		t.Errorf("stopped, it says %q", stopped.Why)
	}
	n.Agent.Start()
	c.WaitReady(2)
	s = onNode(t, n)
	s.must("container_start", &did, web)
	again := w.is(web, placement.Running)
	if again.Node != first.Node || again.ID != first.ID || again.Epoch <= first.Epoch {
		t.Errorf("started again: %+v, before: %+v", again, first)
	}
	answers(t, "http://"+n.Address.String()+":9600/", "hi")

	s.must("container_destroy", &did, web)
	c.Broadcaster.Kill()
	if err := s.call("container_create", nil, placement.Container{ID: "alice/own/db", Image: "hello:latest"}); refusedBy(err) != placement.KindUnavailable {
		t.Errorf("create without a broadcaster: %v", err)
	}
	c.Broadcaster.Start()
	c.WaitReady(2)
	if out := c.Must("submit", file, "--owner", "alice"); !strings.Contains(out, "unchanged") {
		t.Errorf("the same file again: %s", out)
	}
	cluster.Eventually(t, 20*time.Second, "the node's agent has registered again, and creates", func() error {
		return s.call("container_create", &did, placement.Container{ID: "alice/own/db", Image: "hello:latest", Env: []string{"PORT=9800"}})
	})
	if own := w.is("alice/own/db/1", placement.Running); own.Node != placement.NodeID(n.Name) {
		t.Errorf("created on %s: %+v", n.Name, own)
	}
	cluster.Eventually(t, 20*time.Second, "the destroyed copy is proven gone, and nothing follows", func() error {
		if out, stderr, code := c.Schedctl("explain", "app/web/1", "--owner", "alice"); code != 1 || !strings.Contains(stderr, "was destroyed") {
			return fmt.Errorf("exit code %d: %s%s", code, out, stderr)
		}
		return nil
	})
	w.exec()
	c.Must("start", "app/web/1", "--owner", "alice")
	w.is(web, placement.Running)
}

// wisher looks at what became of wishes, by the broadcaster.
type wisher struct {
	t *testing.T
	c *cluster.Cluster
}

// is waits until a replica is in a state.
func (w wisher) is(r placement.Replica, want placement.State) (s placement.Status) {
	w.t.Helper()
	cluster.Eventually(w.t, 40*time.Second, fmt.Sprintf("%s is %s", r, want), func() error {
		all := w.c.Statuses(placement.Filter{Replica: r})
		if len(all) != 1 || all[0].State != want {
			return fmt.Errorf("%+v", all)
		}
		s = all[0]
		return nil
	})
	return s
}

// exec runs a command in all of an app, through schedctl and by a method.
func (w wisher) exec() {
	w.t.Helper()
	var all []broadcaster.Execed
	command := broadcaster.Exec{Owner: "alice", App: "own", Argv: []string{"/hello"}, Env: []string{"PORT=none"}, Key: "k1"}
	for range 2 {
		if err := w.c.Call("exec", &all, command); err != nil || len(all) != 1 || all[0].ExitCode != 1 || !strings.Contains(fmt.Sprint(all[0].Stderr), "none") {
			w.t.Errorf("exec: %+v, %v", all, err)
		}
	}
	out := w.c.Must("rpc", "broadcaster", "exec", `{"owner": "alice", "app": "own", "argv": ["/hello"], "env": ["PORT=none"]}`)
	if !strings.Contains(out, `"exit_code":1`) || !strings.Contains(out, `"replica":"alice/own/db/1"`) {
		w.t.Errorf("schedctl rpc: %s", out)
	}
	if out = w.c.Must("rpc", string(w.is("alice/own/db/1", placement.Running).Node), "container_list"); !strings.Contains(out, "alice/own/db/1.") {
		w.t.Errorf("schedctl rpc of a node: %s", out)
	}
}
