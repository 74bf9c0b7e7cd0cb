package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// staleBound is the promise on a second copy once its node can be reached:
// 2 x (report + RPC) + stop grace.
const staleBound = 25 * time.Second

// TestNodeKilledWhole: a node loses agent, hostinfo, daemons and address. What
// it held runs elsewhere; when it comes back, its stale copies are gone within
// the bound.
func TestNodeKilledWhole(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.PushHello("alice", "hello:latest")
	app := "name: app\nservices:" + service("b", 2, 9401, "b", "b")
	for i := range 4 { // a port of its own each, so that all fit on one node
		app += service(fmt.Sprintf("a%d", i), 1, 9410+i, "", "a")
	}
	c.Must("submit", c.File("app.yaml", app), "--owner", "alice")

	checker := cluster.NewChecker(cluster.Bounds{Double: staleBound, Missing: 60 * time.Second})
	statuses := c.Statuses(placement.Filter{App: "app"})
	on := map[string]int{}
	for _, s := range statuses {
		checker.Want(time.Now(), s.Replica)
		on[string(s.Node)]++
	}
	victim := slices.MaxFunc(c.Nodes, func(a, b *cluster.Node) int { return cmp.Compare(on[a.Name], on[b.Name]) })
	held := on[victim.Name]
	watching, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); checker.Watch(watching, c.Look) }()

	checker.Cut(victim.Name, true)
	killed := time.Now()
	victim.KillWhole()
	cluster.Eventually(t, 90*time.Second, "everything runs on the other nodes", func() error {
		for _, s := range c.Statuses(placement.Filter{App: "app"}) {
			if s.State != placement.Running || string(s.Node) == victim.Name {
				return fmt.Errorf("%s is %s on %s: %s", s.Replica, s.State, s.Node, s.Why)
			}
		}
		return nil
	})
	t.Logf("%d copies of the killed node ran elsewhere after %.1f s", held, time.Since(killed).Seconds())

	revived := time.Now()
	victim.Revive()
	checker.Cut(victim.Name, false)
	cluster.Eventually(t, staleBound, "the stale copies are gone", func() error {
		o := c.Look()
		if why, blind := o.Blind[victim.Name]; blind {
			return fmt.Errorf("%s is not back: %s", victim.Name, why)
		}
		for _, s := range o.Seen {
			if s.Node == victim.Name && s.Running {
				return fmt.Errorf("%s still runs", s.ID)
			}
		}
		return nil
	})
	t.Logf("its stale copies were gone %.1f s after it came back", time.Since(revived).Seconds())
	c.WaitReady(3)
	stop()
	<-done
	checker.Final(c.Look(), c.Statuses(placement.Filter{}))
	for _, v := range checker.Violations() {
		t.Error(v)
	}
}
