package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"longshore/agent"
	"longshore/broadcaster"
	"longshore/internal/placement"
)

// healthy is a look at a cluster of two nodes where all is as it should be.
func healthy() sighted {
	const life = placement.Life("00010000000000000001")
	room := placement.Room{Capacity: placement.Resources{CPU: 4000, Memory: 8 << 30, Disk: 80 << 30}, Promised: placement.Resources{CPU: 4000}}
	s := sighted{
		info: broadcaster.Info{V: placement.Format, Cluster: "c1", Mark: placement.Mark{Gen: 2}, Disk: &broadcaster.Disk{Free: 9 << 30, Total: 10 << 30}},
		told: map[placement.NodeID]nodeTold{},
	}
	for i, node := range []placement.NodeID{"n1", "n2"} {
		r := placement.NewReplica("alice", "shop", "db", i+1)
		id := r.Placement(life)
		s.nodes = append(s.nodes, placement.NodeStatus{Node: node, State: placement.NodeReady, Agent: true, Hostinfo: true, Room: room})
		s.before = append(s.before, placement.Status{Replica: r, ID: id, State: placement.Running, Node: node, Epoch: "e1", HAToken: "db", Since: placement.Millis(time.Hour.Milliseconds())})
		s.told[node] = nodeTold{
			info:   agent.Info{V: placement.Format, Node: node, Cluster: "c1", Registered: true, Mark: placement.Mark{Gen: 2}},
			copies: []placement.Copy{{ID: id, Epoch: "e1", State: placement.CopyRunning}},
		}
	}
	s.after = append([]placement.Status(nil), s.before...)
	return s
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	if found := diagnose(healthy()); len(found) != 0 {
		t.Fatalf("a healthy cluster: %+v", found)
	}
	tell := func(node placement.NodeID, change func(n *nodeTold)) func(*sighted) {
		return func(s *sighted) {
			n := s.told[node]
			change(&n)
			s.told[node] = n
		}
	}
	both := func(i int, change func(r *placement.Status)) func(*sighted) {
		return func(s *sighted) { change(&s.before[i]); change(&s.after[i]) }
	}
	for name, c := range map[string]struct {
		change func(s *sighted)
		want   []string // SEVERITY CHECK, in any order
		says   string
	}{
		"a copy is missing": {tell("n1", func(n *nodeTold) { n.copies = nil }), []string{"error records"}, "should run on n1, and does not"},
		"it started just now": {func(s *sighted) {
			tell("n1", func(n *nodeTold) { n.copies = nil })(s)
			both(0, func(r *placement.Status) { r.Since = 100 })(s)
		}, nil, ""},
		"another epoch runs":   {tell("n1", func(n *nodeTold) { n.copies[0].Epoch = "e0" }), []string{"error records", "error copies"}, "not bound"},
		"it changed meanwhile": {func(s *sighted) { s.after[0].Epoch, s.after[0].State, s.after[0].Since = "e2", placement.Pending, 10 }, nil, ""},
		"a copy runs twice": {tell("n2", func(n *nodeTold) {
			n.copies = append(n.copies, placement.Copy{ID: healthy().before[0].ID, Epoch: "e1", State: placement.CopyRunning})
		}), []string{"error copies", "error double"}, "n1 (epoch e1), n2 (epoch e1)"},
		"an exited copy is none": {tell("n2", func(n *nodeTold) {
			n.copies = append(n.copies, placement.Copy{ID: healthy().before[0].ID, Epoch: "e0", State: placement.CopyExited})
		}), nil, ""},
		"nobody knows it": {tell("n2", func(n *nodeTold) {
			n.copies = append(n.copies, placement.Copy{ID: "eve/x/y/1.1", State: placement.CopyRunning})
		}), []string{"error copies"}, "does not know it"},
		"one domain": {func(s *sighted) {
			s.nodes[0].Labels, s.nodes[1].Labels = map[string]string{"zone": "a"}, map[string]string{"zone": "a"}
			for i := range 2 {
				both(i, func(r *placement.Status) { r.HADomain = "zone" })(s)
			}
		}, []string{"error ha"}, "alice's ha_token db in zone=a"},
		"overcommitted":       {func(s *sighted) { s.nodes[1].Room.Promised.CPU++ }, []string{"error room"}, "4 of 4"},
		"quarantine":          {func(s *sighted) { s.nodes[1].Unknown = []string{"bob/a/b/1.2: no request"} }, []string{"warning quarantine"}, "bob/a/b/1.2"},
		"agentd is not heard": {func(s *sighted) { s.nodes[0].Agent = false; delete(s.told, "n1") }, []string{"error silence"}, "agentd is not heard"},
		"a lost node":         {func(s *sighted) { s.nodes[0].State, s.nodes[0].Agent = placement.NodeLost, false; delete(s.told, "n1") }, []string{"error silence"}, "give-up n1"},
		"a node given up": {func(s *sighted) {
			s.nodes[0].State, s.nodes[0].Agent = placement.NodeGivenUp, false
			delete(s.told, "n1")
		}, nil, ""},
		"an agent does not say":   {tell("n1", func(n *nodeTold) { n.err = errors.New("timed out") }), []string{"warning silence"}, "timed out"},
		"another version":         {tell("n1", func(n *nodeTold) { n.info.V++ }), []string{"error version"}, "format"},
		"a rolled-back ledger":    {tell("n1", func(n *nodeTold) { n.info.Mark.Gen = 3 }), []string{"error ledger"}, "generation 3"},
		"the guard holds":         {func(s *sighted) { s.info.Holding = "3 of 5"; s.nodes[0].Alarms = []string{"3 of 5"} }, []string{"warning guards"}, "guard release"},
		"a certificate ends soon": {func(s *sighted) { s.info.Alarm = "it ends tomorrow" }, []string{"warning certificates"}, "tomorrow"},
		"no locks":                {func(s *sighted) { s.info.Lockless = true }, []string{"warning locks"}, "Redis"},
		"little disk":             {func(s *sighted) { s.info.Disk.Free = 500 << 20 }, []string{"warning disk"}, "500MiB left of 10GiB"},
		"no disk":                 {func(s *sighted) { s.info.Disk.Free = 1 << 20 }, []string{"error disk"}, "refused soon"},
		"waits for long": {func(s *sighted) {
			s.after = append(s.after, placement.Status{Replica: "alice/shop/web/1", ID: "alice/shop/web/1.9", State: placement.Pending, Since: 400_000, Why: "no room"})
		}, []string{"warning waiting"}, "no room"},
		"failed": {func(s *sighted) {
			s.after = append(s.after, placement.Status{Replica: "alice/shop/web/1", ID: "alice/shop/web/1.9", State: placement.Dead, Why: "no such image"})
		}, []string{"warning waiting"}, "no such image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := healthy()
			c.change(&s)
			found := diagnose(s)
			var out bytes.Buffer
			a := &app{stdout: &out}
			err := a.findings(found, len(s.nodes))
			failed := false
			left := append([]string(nil), c.want...)
			for _, f := range found {
				failed = failed || f.Severity == severe
				i := -1
				for j, w := range left {
					if w == f.Severity+" "+f.Check {
						i = j
					}
				}
				if i < 0 || f.Next == "" {
					t.Errorf("found %+v", f)
					continue
				}
				left = append(left[:i], left[i+1:]...)
			}
			if len(left) > 0 || !strings.Contains(out.String(), c.says) || (err != nil) != failed {
				t.Errorf("not found: %v, error %v\n%s", left, err, &out)
			}
		})
	}
}
