package faults_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

var errNotYet = errors.New("not yet")

// four nodes: three replicas of one HA token can do without one of them.
var four = cluster.Options{Nodes: 4}

// agentKinds: what befalls the processes of a node. Its containers run on.
func agentKinds() []kind {
	return []kind{
		{row: "agentd kill -9 while placing", times: 18, busy: true, still: true, inject: agentKilled},
		{row: "agentd stays down while placing", times: 3, options: four, busy: true, live: true, still: true, inject: agentDown},
		{row: "hostinfod kill -9 while placing", times: 8, busy: true, still: true, inject: hostinfoKilled},
		{row: "both kill -9 while placing", times: 8, busy: true, still: true, inject: bothKilled},
		{row: "agentd replaced while placing", times: 8, busy: true, still: true, inject: agentReplaced},
		{row: "agentd paused 5 s", times: 6, busy: true, still: true, inject: paused(5*time.Second, agentOf)},
		{row: "agentd paused 30 s", times: 2, busy: true, still: true, inject: paused(30*time.Second, agentOf)},
		{row: "agentd paused 90 s", times: 1, busy: true, still: true, inject: paused(90*time.Second, agentOf)},
		{row: "hostinfod paused 5 s", times: 6, busy: true, still: true, inject: paused(5*time.Second, hostinfoOf)},
		{row: "hostinfod paused 30 s", times: 2, busy: true, still: true, inject: paused(30*time.Second, hostinfoOf)},
		{row: "agentd and hostinfod paused 30 s", times: 2, still: true, inject: paused(30*time.Second, agentOf, hostinfoOf)},
		{row: "agentd and hostinfod paused 90 s", times: 1, still: true, inject: paused(90*time.Second, agentOf, hostinfoOf)},
		{row: "second agentd on a host", times: 6, still: true, inject: secondAgent},
		{row: "cloned node", times: 2, still: true, inject: clonedNode},
		{row: "host rebooted", times: 4, inject: rebooted},
		{row: "host lost with all it ran", times: 2, live: true, options: four, inject: hostLost},
		{row: "host cut from management, then given up", times: 2, live: true, options: four, inject: givenUp},
	}
}

func agentOf(n *cluster.Node) *cluster.Process    { return n.Agent }
func hostinfoOf(n *cluster.Node) *cluster.Process { return n.Hostinfo }

func agentKilled(s *stage) func() {
	n := s.node()
	n.Agent.Kill()
	return n.Agent.Start
}

func hostinfoKilled(s *stage) func() {
	n := s.node()
	n.Hostinfo.Kill()
	return n.Hostinfo.Start
}

func bothKilled(s *stage) func() {
	n := s.node()
	n.Agent.Kill()
	n.Hostinfo.Kill()
	return func() { n.Agent.Start(); n.Hostinfo.Start() }
}

// agentDown: the other nodes take the work. (The quiet app's copies of this
// node run on: hostinfod tells of them.)
func agentDown(s *stage) func() {
	n := s.node()
	n.Agent.Kill()
	s.cut(n)
	return func() { n.Agent.Start(); s.uncut() }
}

func agentReplaced(s *stage) func() {
	n := s.node()
	n.Agent.Stop()
	return n.Agent.Start
}

// paused stops processes of a node with SIGSTOP.
func paused(d time.Duration, of ...func(*cluster.Node) *cluster.Process) func(*stage) func() {
	return func(s *stage) func() {
		n := s.node()
		s.cut(n)
		for _, p := range of {
			p(n).Signal(syscall.SIGSTOP)
		}
		s.lasts(d)
		return func() {
			for _, p := range of {
				p(n).Signal(syscall.SIGCONT)
			}
			s.uncut()
		}
	}
}

// secondAgent: one directory is one daemon's.
func secondAgent(s *stage) func() {
	n := s.node()
	second := n.Agent.Another("second")
	second.Start()
	defer second.Kill()
	s.see("the second agentd ends", func() error {
		if second.Running() {
			return errNotYet
		}
		return nil
	})
	if !strings.Contains(second.Tail(), "another daemon works with") {
		s.t.Errorf("the second agentd does not say why it ended: %s", second.Tail())
	}
	return nil
}

// clonedNode: a second machine with the first one's name. No new work for
// either, and an alarm.
func clonedNode(s *stage) func() {
	n := s.node()
	clone := n.Agent.Another("clone", "--state-dir", n.StateDir+"-clone", "--run-dir", n.RunDir+"-clone")
	clone.Start()
	took := s.see("an alarm of two sessions", func() error {
		status, err := s.status(n.Name)
		if err == nil && len(status.Alarms) == 0 {
			err = errNotYet
		}
		return err
	})
	s.longest("alarm after", took)
	s.lasts(5 * time.Second)
	return func() {
		clone.Kill()
		s.see("the node takes work again", func() error {
			status, err := s.status(n.Name)
			if err == nil && (status.State != placement.NodeReady || len(status.Alarms) > 0) {
				err = fmt.Errorf("it is %s: %v", status.State, status.Alarms)
			}
			return err
		})
		if err := errors.Join(os.RemoveAll(n.StateDir+"-clone"), os.RemoveAll(n.RunDir+"-clone")); err != nil {
			s.t.Error(err)
		}
	}
}

// rebooted: everything on the host ends at once, and what a reboot forgets is
// gone. Its copies are started there again.
func rebooted(s *stage) func() {
	n := s.node()
	n.PowerOff()
	return n.Boot
}

// hostLost: the host is gone with all it ran; its copies start elsewhere.
func hostLost(s *stage) func() {
	n := s.node()
	s.cut(n)
	n.PowerOff()
	return func() { n.Boot(); s.uncut() }
}

// givenUp: nobody can reach the host, its containers run on, and the operator
// gives it up. When it comes back its copies are stopped.
func givenUp(s *stage) func() {
	n := s.node()
	s.cut(n)
	n.KillWhole()
	s.c.Must("node", "give-up", n.Name)
	return func() { n.Revive(); s.uncut() }
}
