package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"longshore/agent"
	"longshore/broadcaster"
	"longshore/internal/placement"
)

// sighted is one look at a cluster: what its parts say, side by side.
type sighted struct {
	info   broadcaster.Info
	nodes  []placement.NodeStatus
	before []placement.Status // all records, read before the nodes were asked
	after  []placement.Status // and after
	told   map[placement.NodeID]nodeTold
}

// nodeTold is what a node's agent says itself.
type nodeTold struct {
	err    error // why it could not be asked
	info   agent.Info
	copies []placement.Copy
}

// Severities of findings.
const (
	severe  = "error"   // a promise is broken, or something is down
	warning = "warning" // worth a look
)

// finding is one thing that is not as it should be.
type finding struct {
	Severity string `json:"severity"`
	Check    string `json:"check"`
	About    string `json:"about"`
	What     string `json:"what"`
	Next     string `json:"next"`
	// Passing says that it may be on its way to be right: it counts only if it
	// lasts.
	Passing bool `json:"-"`
}

// diagnose compares what was seen with what must hold. It is pure.
func diagnose(s sighted) []finding {
	var all []finding
	for _, check := range []func(sighted) []finding{checkBroadcaster, checkNodes, checkAgents, checkRecords, checkCopies, checkTokens, checkWaiting} {
		all = append(all, check(s)...)
	}
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Compare(a.Severity, b.Severity) })
	return all
}

const (
	lowDisk   = 1 << 30   // bytes
	nearFull  = 128 << 20 // bytes: twice the ledger's reserve
	longWait  = 5 * time.Minute
	settles   = 10 * time.Second // a record that changed since may not be true on the node yet
	nobodyKey = "broadcaster"
)

func checkBroadcaster(s sighted) []finding {
	var all []finding
	say := func(yes bool, severity, check, what, next string) {
		if yes {
			all = append(all, finding{Severity: severity, Check: check, About: nobodyKey, What: what, Next: next})
		}
	}
	i := s.info
	say(i.V != placement.Format, severe, "version", fmt.Sprintf("it speaks format %d, this schedctl %d", i.V, placement.Format), "install the same version everywhere")
	say(i.Holding != "", warning, "guards", "it holds back: "+i.Holding, "wait for the nodes, or schedctl guard release, or schedctl node give-up NODE")
	say(i.Alarm != "", warning, "certificates", i.Alarm, "see schedctl ca --help")
	say(i.Lockless, warning, "locks", "a node cannot reach the lock table (Redis); placing is slower, and as safe", "look after Redis, and at --redis of the agents")
	if d := i.Disk; d != nil {
		left := fmt.Sprintf("the ledger's disk has %s left of %s", size(d.Free), size(d.Total))
		say(d.Free < nearFull, severe, "disk", left+": new work is refused soon", "make room in its data directory, or make the disk larger")
		say(d.Free >= nearFull && d.Free < lowDisk, warning, "disk", left, "make room in its data directory")
	}
	return all
}

func checkNodes(s sighted) []finding {
	var all []finding
	for _, n := range s.nodes {
		say := func(yes bool, severity, check, what, next string) {
			if yes {
				all = append(all, finding{Severity: severity, Check: check, About: "node " + string(n.Node), What: what, Next: next})
			}
		}
		down := n.State == placement.NodeSilent || n.State == placement.NodeLost
		ago := n.Silent.Duration().Round(time.Second)
		say(down, severe, "silence", fmt.Sprintf("it is %s, last heard %s ago", n.State, ago), "look at the machine and its network; if it is gone: schedctl node give-up "+string(n.Node))
		gone := down || n.State == placement.NodeGivenUp
		say(!gone && !n.Agent, severe, "silence", "its agentd is not heard", "on the machine: is agentd running, and what does it log?")
		say(!gone && !n.Hostinfo, severe, "silence", "its hostinfod is not heard", "on the machine: is hostinfod running, and what does it log?")
		for _, alarm := range n.Alarms {
			say(!gone && alarm != s.info.Holding, warning, "alarms", alarm, "schedctl node show "+string(n.Node))
		}
		for _, u := range n.Unknown {
			say(true, warning, "quarantine", "it runs what the ledger does not know: "+u, "if it is not wanted, remove it by hand; broadcasterd --new-generation tries to take it in")
		}
		p, c := n.Room.Promised, n.Room.Capacity
		over := c != (placement.Resources{}) && (p.CPU > c.CPU || p.Memory > c.Memory || p.Disk > c.Disk)
		say(over, severe, "room", fmt.Sprintf("more is promised than there is: cpu %s of %s, memory %s of %s, disk %s of %s", cores(p.CPU), cores(c.CPU), size(p.Memory), size(c.Memory), size(p.Disk), size(c.Disk)),
			"its capacity shrank, or copies run behind Longshore's back: schedctl node show "+string(n.Node))
	}
	return all
}

func checkAgents(s sighted) []finding {
	var all []finding
	for _, node := range slices.Sorted(maps.Keys(s.told)) {
		t := s.told[node]
		say := func(yes bool, severity, check, what, next string) {
			if yes {
				all = append(all, finding{Severity: severity, Check: check, About: "node " + string(node), What: what, Next: next})
			}
		}
		if t.err != nil {
			say(true, warning, "silence", "its agentd does not answer: "+t.err.Error(), "what it runs was not looked at")
			continue
		}
		say(t.info.V != placement.Format, severe, "version", fmt.Sprintf("its agentd speaks format %d, this schedctl %d", t.info.V, placement.Format), "install the same version everywhere")
		say(t.info.Cluster != "" && t.info.Cluster != s.info.Cluster, severe, "version", "it serves cluster "+t.info.Cluster, "move it: agentd --accept-cluster "+s.info.Cluster)
		say(t.info.Mark.Gen > s.info.Mark.Gen, severe, "ledger", fmt.Sprintf("it has heard generation %d of the ledger, which is at %d: the ledger was rolled back", t.info.Mark.Gen, s.info.Mark.Gen), "restart its agentd: the ledger notices when it registers")
		say(!t.info.Registered, warning, "silence", "its agentd is not registered", "see its log")
	}
	return all
}

// still are the records that did not change while the nodes were asked.
func (s sighted) still() map[placement.ID]placement.Status {
	now := map[placement.ID]placement.Status{}
	for _, r := range s.after {
		now[r.ID] = r
	}
	still := map[placement.ID]placement.Status{}
	for _, r := range s.before {
		if n, ok := now[r.ID]; ok && n.State == r.State && n.Epoch == r.Epoch && n.Node == r.Node {
			still[r.ID] = n
		}
	}
	return still
}

// checkRecords looks on the nodes for what the ledger says runs there.
func checkRecords(s sighted) []finding {
	var all []finding
	still := s.still()
	for _, id := range slices.Sorted(maps.Keys(still)) {
		r := still[id]
		t, asked := s.told[r.Node]
		if r.State != placement.Running || !asked || t.err != nil || r.Since.Duration() < settles {
			continue
		}
		here := slices.ContainsFunc(t.copies, func(c placement.Copy) bool {
			return c.ID == id && c.Epoch == r.Epoch && c.State == placement.CopyRunning
		})
		if !here {
			all = append(all, finding{
				Severity: severe, Check: "records", About: string(r.Replica), Passing: true,
				What: fmt.Sprintf("it should run on %s, and does not", r.Node), Next: "schedctl history " + string(r.Replica) + "; is hostinfod of that node heard?",
			})
		}
	}
	return all
}

// checkCopies asks of each copy that runs whether it may.
func checkCopies(s sighted) []finding {
	var all []finding
	still, known := s.still(), map[placement.ID]bool{}
	for _, r := range slices.Concat(s.before, s.after) {
		known[r.ID] = true
	}
	runs := map[placement.Replica][]string{}
	for _, node := range slices.Sorted(maps.Keys(s.told)) {
		for _, c := range s.told[node].copies {
			if c.State != placement.CopyRunning {
				continue
			}
			runs[c.ID.Replica()] = append(runs[c.ID.Replica()], fmt.Sprintf("%s (epoch %s)", node, c.Epoch))
			r, same := still[c.ID]
			bound := r.Node == node && r.Epoch == c.Epoch && (r.State == placement.Bound || r.State == placement.Running)
			switch {
			case !known[c.ID]:
				all = append(all, finding{
					Severity: severe, Check: "copies", About: string(c.ID), Passing: true, What: "it runs on " + string(node) + ", and the ledger does not know it",
					Next: "it is stopped if it was removed, else shown by schedctl node show " + string(node),
				})
			case same && !bound:
				all = append(all, finding{
					Severity: severe, Check: "copies", About: string(c.ID), Passing: true, What: fmt.Sprintf("it runs on %s, where it is not bound (%s)", node, r.State.Word()),
					Next: "it is stopped when its node is heard: is hostinfod there?",
				})
			}
		}
	}
	for _, r := range slices.Sorted(maps.Keys(runs)) {
		if len(runs[r]) > 1 {
			all = append(all, finding{
				Severity: severe, Check: "double", About: string(r), Passing: true, What: "it runs more than once: " + strings.Join(runs[r], ", "),
				Next: "the copy that is not bound is stopped when its node is heard: schedctl history " + string(r),
			})
		}
	}
	return all
}

// checkTokens asks whether replicas of one HA token share a failure domain.
func checkTokens(s sighted) []finding {
	labels := map[placement.NodeID]map[string]string{}
	for _, n := range s.nodes {
		labels[n.Node] = n.Labels
	}
	held := map[string][]placement.Replica{}
	for _, r := range s.still() {
		if r.HAToken == "" || r.Node == "" || r.State != placement.Bound && r.State != placement.Running {
			continue
		}
		domain := placement.NodeRecord{Node: r.Node, Labels: labels[r.Node]}.Domain(r.HADomain)
		slot := fmt.Sprintf("%s's ha_token %s in %s", r.Replica.Owner(), r.HAToken, domain)
		if !slices.Contains(held[slot], r.Replica) {
			held[slot] = append(held[slot], r.Replica)
		}
	}
	var all []finding
	for _, slot := range slices.Sorted(maps.Keys(held)) {
		if len(held[slot]) > 1 {
			slices.Sort(held[slot])
			all = append(all, finding{
				Severity: severe, Check: "ha", About: slot, What: fmt.Sprintf("it is held by %v", held[slot]),
				Next: "a label of the node changed while they ran, or this is a bug: stop one with schedctl stop, then start it",
			})
		}
	}
	return all
}

func checkWaiting(s sighted) []finding {
	var all []finding
	for _, r := range s.after {
		switch {
		case r.State == placement.Dead:
			all = append(all, finding{Severity: warning, Check: "waiting", About: string(r.Replica), What: "it failed: " + r.Why, Next: "schedctl explain " + string(r.Replica) + ", then schedctl retry"})
		case r.State == placement.Pending && r.Since.Duration() >= longWait:
			all = append(all, finding{Severity: warning, Check: "waiting", About: string(r.Replica), What: fmt.Sprintf("it waits for %s: %s", age(r.Since), r.Why), Next: "schedctl explain " + string(r.Replica)})
		}
	}
	return all
}
