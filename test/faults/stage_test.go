package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// quiet is the app of every stage that nobody changes.
const quiet = "quiet"

// restful is how long a cluster may take to come to rest: four times what it
// takes when two run on two idle cores.
const restful = 4 * time.Minute

// stage is a cluster that faults strike: with a quiet app and one that is
// changed, and a checker that looks throughout.
type stage struct {
	t       *testing.T
	c       *cluster.Cluster
	rand    *rand.Rand
	checker *cluster.Checker
	load    *load
	result  *result
	number  int // of the fault, from 0

	ctx      context.Context //nolint:containedctx // of the row
	busy     app
	version  int
	calls    sync.WaitGroup
	registry *cluster.SlowRegistry // of kinds that pull
	end      func()
}

func newStage(t *testing.T, k kind, seed uint64, r *result) *stage {
	t.Helper()
	c := cluster.Start(t, k.options)
	ctx, cancel := context.WithCancel(t.Context())
	checker := cluster.NewChecker(cluster.Bounds{Double: bound, Missing: restful})
	s := &stage{
		t: t, c: c, rand: rand.New(rand.NewPCG(seed, 1)), checker: checker, result: r,
		load: &load{c: c, checker: checker, say: t.Logf},
		ctx:  ctx, busy: app{owner: "alice", name: "busy", token: true},
	}
	if k.pull {
		s.registry = c.SlowRegistry() // before anybody has a connection to it
	}
	c.PushHello("alice", "hello:latest")
	c.PushHello("bob", "hello:latest")
	for _, a := range []app{{owner: "bob", name: quiet}, s.busy} {
		if err := s.load.submit(ctx, a, 0); err != nil {
			t.Fatal(err)
		}
	}
	var watch sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	watch.Go(func() { checker.Watch(watching, c.Look) })
	watch.Go(func() { follow(watching, t, c) })
	s.end = func() { stop(); watch.Wait() }
	t.Cleanup(func() { cancel(); watch.Wait(); s.calls.Wait() }) // before the cluster goes
	return s
}

// finish judges the row.
func (s *stage) finish() {
	s.end()
	if !s.t.Failed() {
		s.checker.Final(s.c.Look(), s.c.Statuses(placement.Filter{}))
	}
	judge(s.t, s.checker)
	for _, moved := range s.checker.Moved() {
		s.t.Logf("moved: %s", moved)
	}
	s.result.double = s.checker.Longest()
	for _, v := range s.checker.Found() {
		if v.Kind == cluster.Lost {
			s.result.lost++
		} else {
			s.result.beyond++
		}
	}
	s.result.failed = s.t.Failed()
}

// change submits the busy app in its next version. What it answers is waited
// for by answered.
func (s *stage) change() {
	s.version++
	version := s.version
	s.calls.Go(func() {
		if err := s.load.submit(s.ctx, s.busy, version); err != nil && s.ctx.Err() == nil {
			s.t.Error(err)
		}
	})
}

func (s *stage) answered() { s.calls.Wait() }

// lasts is the time that a fault lasts, or until it strikes.
func (s *stage) lasts(d time.Duration) { <-time.After(d) }

// rest waits until nothing is wrong any more.
func (s *stage) rest(when string) {
	s.t.Helper()
	cluster.Eventually(s.t, restful, when+" everything runs as it was last asked for", func() error {
		var ledger []placement.Status
		if err := s.c.Call("status", &ledger, placement.Filter{}); err != nil {
			return err
		}
		if found := s.checker.AtRest(s.c.Look(), ledger); len(found) > 0 {
			return fmt.Errorf("%d are wrong, such as: %s", len(found), found[0].Text)
		}
		return nil
	})
}

// see waits for what must be seen while the fault lasts.
func (s *stage) see(what string, f func() error) time.Duration {
	s.t.Helper()
	began := time.Now()
	cluster.Eventually(s.t, restful, what, f)
	return time.Since(began)
}

// containers are those that run, by replica.
func (s *stage) containers() map[placement.Replica]string {
	found := map[placement.Replica]string{}
	for _, seen := range s.c.Look().Seen {
		if seen.Running {
			found[seen.ID.Replica()] = seen.Container
		}
	}
	return found
}

// node is one of the nodes, by chance.
func (s *stage) node() *cluster.Node { return s.c.Nodes[s.rand.IntN(len(s.c.Nodes))] }

// cut says that nodes cannot be reached (none named: all), so that no copy on
// them can be stopped; the end of the fault says that they can again.
func (s *stage) cut(nodes ...*cluster.Node) {
	if len(nodes) == 0 {
		nodes = s.c.Nodes
	}
	for _, n := range nodes {
		s.checker.Cut(n.Name, true)
	}
}

func (s *stage) uncut() {
	for _, n := range s.c.Nodes {
		s.checker.Cut(n.Name, false)
	}
}

// status is what the broadcaster says of a node.
func (s *stage) status(name string) (placement.NodeStatus, error) {
	var nodes []placement.NodeStatus
	if err := s.c.Call("nodes", &nodes); err != nil {
		return placement.NodeStatus{}, err
	}
	for _, n := range nodes {
		if string(n.Node) == name {
			return n, nil
		}
	}
	return placement.NodeStatus{}, fmt.Errorf("there is no node %s", name)
}
