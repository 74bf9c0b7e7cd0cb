package faults_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// dockerKinds: what befalls a node's Docker daemons, and what images and
// containers do themselves.
func dockerKinds() []kind {
	return []kind{
		{row: "dockerd kill -9 while placing", times: 10, busy: true, inject: killed("dockerd")},
		{row: "containerd kill -9 while placing", times: 8, busy: true, inject: killed("containerd")},
		{row: "all daemons of a node kill -9", times: 6, inject: allDaemonsKilled},
		{row: "dockerd hung 5 s", times: 6, busy: true, still: true, inject: hung("dockerd", 5*time.Second)},
		{row: "dockerd hung 30 s", times: 2, inject: hung("dockerd", 30*time.Second)},
		{row: "dockerd hung 90 s", times: 1, inject: hung("dockerd", 90*time.Second)},
		{row: "containerd hung 5 s", times: 6, busy: true, still: true, inject: hung("containerd", 5*time.Second)},
		{row: "containerd hung 30 s", times: 2, still: true, inject: hung("containerd", 30*time.Second)},
		{row: "one of several daemons unreachable 20 s", times: 3, still: true, inject: socketMoved},
		{row: "slow pull", times: 3, pull: true, still: true, inject: slowPull},
		{row: "pull cut half way", times: 4, pull: true, still: true, inject: failingPull((*cluster.SlowRegistry).Cut)},
		{row: "registry answers 500", times: 4, pull: true, still: true, inject: failingPull((*cluster.SlowRegistry).Fail)},
		{row: "node's disk full while placing", times: 3, live: true, options: cluster.Options{Nodes: 4, NodeDisk: 512}, inject: nodeFull},
		{row: "a program that no kernel starts", times: 6, still: true, inject: startFails},
		{row: "a container that exits at once", times: 6, still: true, inject: exitsAtOnce},
		{row: "an image that nobody has", times: 6, still: true, inject: noImage},
	}
}

// daemon is one of a node's processes of this program, by chance.
func (s *stage) daemon(program string) (*cluster.Node, int) {
	s.t.Helper()
	for range 20 {
		n := s.node()
		if pids := n.Daemons(program); len(pids) > 0 {
			return n, pids[s.rand.IntN(len(pids))]
		}
	}
	s.t.Fatalf("no %s runs", program)
	return nil, 0
}

func killed(program string) func(*stage) func() {
	return func(s *stage) func() {
		_, pid := s.daemon(program)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
		return nil
	}
}

func allDaemonsKilled(s *stage) func() {
	n := s.node()
	n.KillDaemons()
	return nil
}

// hung stops a daemon with SIGSTOP: what it does not list is not absent. After
// 30 s its copies are lost, and start elsewhere.
func hung(program string, d time.Duration) func(*stage) func() {
	return func(s *stage) func() {
		n, pid := s.daemon(program)
		s.cut(n)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			s.t.Fatal(err)
		}
		s.lasts(d)
		return func() {
			_ = syscall.Kill(pid, syscall.SIGCONT) // its node may have ended it
			s.uncut()
		}
	}
}

// socketMoved: the daemon runs, and nobody finds it.
func socketMoved(s *stage) func() {
	seen := s.victim()
	if err := os.Rename(seen.Socket, seen.Socket+".away"); err != nil {
		s.t.Fatal(err)
	}
	s.lasts(20 * time.Second)
	return func() {
		if _, err := os.Stat(seen.Socket); err == nil {
			_ = os.Remove(seen.Socket + ".away") // the agent has started the daemon anew
			return
		}
		if err := os.Rename(seen.Socket+".away", seen.Socket); err != nil {
			s.t.Error(err)
		}
	}
}

// single is an app of one replica, of a service that is what edit makes of it.
func single(name string, edit func(*placement.Service)) placement.App {
	a := app{owner: "alice", name: name}.version(0)
	a.Services = a.Services[:1]
	a.Services[0].Replicas = 1
	edit(&a.Services[0])
	return a
}

// tells submits an app that cannot run as it is, waits until the ledger says
// why, and removes it.
func (s *stage) tells(a placement.App, what string, why func(placement.Status) error) {
	s.t.Helper()
	if err := s.c.Call("submit", nil, a); err != nil {
		s.t.Fatal(err)
	}
	took := s.see(what, func() error {
		var all []placement.Status
		if err := s.c.Call("status", &all, placement.Filter{Owner: a.Owner, App: a.Name}); err != nil {
			return err
		}
		if len(all) != 1 {
			return fmt.Errorf("it shows %+v", all)
		}
		if err := why(all[0]); err != nil {
			return fmt.Errorf("%w: %s is %s (%s, tries %d): %s", err, all[0].ID, all[0].State, all[0].Phase, all[0].Tries, all[0].Why)
		}
		return nil
	})
	s.longest("told after", took)
	if err := s.c.Call("remove", nil, placement.Filter{Owner: a.Owner, App: a.Name}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) name(base string) string { return fmt.Sprintf("%s%d", base, s.number) }

func startFails(s *stage) func() {
	s.c.PushUnstartable("alice", "broken:latest")
	a := single(s.name("nostart"), func(x *placement.Service) { x.Request.Image = "broken:latest" })
	s.tells(a, "ps says how it ends", func(status placement.Status) error {
		if !strings.Contains(status.Why, "exit code") {
			return errNotYet
		}
		return nil
	})
	return nil
}

func exitsAtOnce(s *stage) func() {
	a := single(s.name("exits"), func(x *placement.Service) { x.Request.Env = []string{"PORT=none"} })
	s.tells(a, "it is started again and again, and ps says why", func(status placement.Status) error {
		if status.State == placement.Dead || status.State == placement.Done {
			s.t.Errorf("a container that exits is given up: %+v", status)
			return nil
		}
		if !strings.Contains(status.Why, "exit") {
			return errNotYet
		}
		return nil
	})
	return nil
}

func noImage(s *stage) func() {
	a := single(s.name("noimage"), func(x *placement.Service) { x.Request.Image = "hello@sha256:" + strings.Repeat("a1", 32) })
	err := s.c.Call("submit", nil, a)
	if err == nil {
		s.tells(a, "ps says that nobody has the image", func(status placement.Status) error {
			if status.Why == "" || status.Tries == 0 {
				return errNotYet
			}
			return nil
		})
		return nil
	}
	if !strings.Contains(err.Error(), "image") {
		s.t.Errorf("the refusal does not name the image: %v", err)
	}
	return nil
}

// pulls submits one replica of an image that no node has yet.
func (s *stage) pulls() placement.App {
	s.t.Helper()
	s.c.PushLarge("alice", s.name("large")+":latest")
	a := single(s.name("pulls"), func(x *placement.Service) { x.Request.Image = s.name("large") + ":latest" })
	var answer placement.Submitted
	if err := s.c.Call("submit", &answer, a); err != nil {
		s.t.Fatal(err)
	}
	r := placement.NewReplica(a.Owner, a.Name, a.Services[0].Name, 1)
	s.checker.Want(time.Now(), r)
	s.checker.WantRequest(answer.Digests[a.Services[0].Name], r)
	return a
}

func slowPull(s *stage) func() {
	registry := s.registry
	registry.Slow(true)
	s.pulls()
	s.see("a layer comes slowly", func() error {
		if registry.Flowing() == 0 {
			return errNotYet
		}
		return nil
	})
	s.lasts(20 * time.Second)
	return func() { registry.Slow(false) }
}

func failingPull(fail func(*cluster.SlowRegistry, bool)) func(*stage) func() {
	return func(s *stage) func() {
		registry := s.registry
		fail(registry, true)
		s.pulls()
		s.see("a pull has failed", func() error {
			if registry.Failed() == 0 {
				return errNotYet
			}
			return nil
		})
		s.lasts(3 * time.Second)
		return func() { fail(registry, false) }
	}
}

// nodeFull: the others take the work.
func nodeFull(s *stage) func() {
	free := s.c.Nodes[0].Fill()
	s.change()
	return free
}
