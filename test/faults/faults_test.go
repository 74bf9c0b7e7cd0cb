package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

const (
	bound   = 25 * time.Second // on a second copy, and on a removed one
	missing = 2 * time.Minute  // without a copy: only said of what is lost for good
	settle  = 3 * time.Minute  // after the last fault
	workers = 4

	calm  = 2 * time.Second // with faults this far apart,
	short = 5 * time.Second // and what they hit down for no longer, the bounds hold
)

// number is an environment variable's value, or what it is by default.
func number(t *testing.T, name string, standard uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return standard
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestFaults: every process of a cluster is killed at random moments, and what
// Redis holds is flushed, while placements are submitted, changed and removed.
// Nothing is lost, nothing runs twice beyond the bound, and in the end
// everything runs as it was last asked for.
func TestFaults(t *testing.T) {
	seed := number(t, "SEED", uint64(time.Now().UnixNano())%1e6)
	faults := int(number(t, "FAULTS", 12))
	placements := int(number(t, "PLACEMENTS", uint64(min(200, 4*faults))))
	every := time.Duration(number(t, "EVERY", 3000)) * time.Millisecond
	down := time.Duration(number(t, "DOWN", 2000)) * time.Millisecond
	t.Logf("SEED=%d FAULTS=%d PLACEMENTS=%d EVERY=%d DOWN=%d", seed, faults, placements, every.Milliseconds(), down.Milliseconds())

	c := cluster.Start(t, cluster.Options{})
	c.PushHello("alice", "hello:latest")
	c.PushHello("bob", "hello:latest")
	checker := cluster.NewChecker(cluster.Bounds{Double: bound, Missing: missing})
	ctx, cancel := context.WithCancel(t.Context())
	watching, stopWatching := context.WithCancel(ctx)
	var watch, work sync.WaitGroup
	defer func() { cancel(); watch.Wait(); work.Wait() }() // before the cluster goes
	watch.Go(func() { checker.Watch(watching, c.Look) })
	watch.Go(func() { follow(watching, t, c) })

	l := &load{c: c, checker: checker, say: t.Logf}
	apps := (placements + perApp - 1) / perApp
	for i := range workers {
		work.Go(func() {
			l.work(ctx, rand.New(rand.NewPCG(seed, uint64(i+1))), i, workers, apps, time.Duration(faults)*every)
		})
	}
	s := storm{c: c, say: t.Logf, landed: map[string]int{}, deal: dealer{
		rand: rand.New(rand.NewPCG(seed, 0)), mean: every, down: down, nodes: len(c.Nodes),
	}}
	// In a storm, or with the broadcaster down for long, nothing is in reach for
	// long enough to be bound.
	for _, n := range c.Nodes {
		checker.Cut(n.Name, every < calm || down > short)
	}
	s.rage(faults)
	for _, n := range c.Nodes {
		checker.Cut(n.Name, false)
	}
	work.Wait()
	for _, err := range l.errs {
		t.Error(err)
	}
	t.Logf("%d calls got an error or no answer and were tried again; %d removals had been done by such a call", l.unanswered, l.notFound)

	settled := await(t, c, checker)
	stopWatching()
	watch.Wait()
	checker.Final(c.Look(), c.Statuses(placement.Filter{}))
	judge(t, checker)
	for _, moved := range checker.Moved() {
		t.Logf("moved: %s", moved)
	}
	keep(t, &result{
		row: "random: kill -9 of any process, and flushed locks", faults: faults, failed: t.Failed(), double: checker.Longest(), repair: settled,
		lost: checker.Count(cluster.Lost), beyond: len(checker.Found()) - checker.Count(cluster.Lost),
		notes: []string{fmt.Sprintf("%d placements submitted, %d changed, %d removed", l.submitted, l.changed, l.gone)},
	})
	looks, gap := checker.Looks()
	t.Logf("%d looks at all daemons, at most %.1f s apart", looks, gap.Seconds())
	t.Logf("%d faults (%s), %d placements submitted, %d changed, %d removed: %d lost, %d double beyond %.0f s, longest double %.1f s, settled after %.1f s; %d copies moved",
		faults, s.byKind(), l.submitted, l.changed, l.gone,
		checker.Count(cluster.Lost), checker.Count(cluster.Double), bound.Seconds(), checker.Longest().Seconds(), settled.Seconds(), len(checker.Moved()))
}

// await waits until nothing is wrong any more, or for as long as the cluster
// may take to settle, and tells how long that took.
func await(t *testing.T, c *cluster.Cluster, checker *cluster.Checker) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var ledger []placement.Status
		if err := c.Call("status", &ledger, placement.Filter{}); err == nil && len(checker.AtRest(c.Look(), ledger)) == 0 {
			return time.Since(began)
		}
		if time.Since(began) > settle {
			t.Errorf("the cluster has not come to rest %v after the last fault", settle)
			return time.Since(began)
		}
		<-tick.C
	}
}

func judge(t *testing.T, checker *cluster.Checker) {
	t.Helper()
	for _, v := range checker.Found() {
		t.Errorf("%s: %s", v.Kind, v.Text)
	}
}
