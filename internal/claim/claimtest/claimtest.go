// Package claimtest holds what every table of claims must do.
package claimtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"longshore/internal/placement"
)

// Claims is a table of claims, as agents use it.
type Claims interface {
	Acquire(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) (holder placement.NodeID, ok bool, err error)
	Release(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) error
}

// Open makes an empty table for one case.
type Open func(t *testing.T, ttl time.Duration) Claims

// In runs one case where its table lives: at once, or in a synctest bubble.
type In func(t *testing.T, f func(t *testing.T))

// Run runs the suite as subtests, each on a table of its own.
func Run(t *testing.T, in In, open Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		ttl  time.Duration
		f    func(t *testing.T, c Claims, ttl time.Duration)
	}{
		{"steps", time.Hour, steps},
		{"one winner", time.Hour, oneWinner},
		{"highest epoch wins", time.Hour, highestEpochWins},
		{"expires", 200 * time.Millisecond, expires},
		{"renewal extends", 200 * time.Millisecond, renewalExtends},
		{"ended context", time.Hour, endedContext},
		{"invalid words", time.Hour, invalidWords},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				t.Helper()
				c.f(t, open(t, c.ttl), c.ttl)
			})
		})
	}
}

const (
	web1 = placement.ID("alice/shop/web/1.00000000000000000001")
	web2 = placement.ID("alice/shop/web/2.00000000000000000001")
)

// Epochs next to each other, with more digits than a float holds.
var (
	start = placement.NewStart(1<<31, 0xfffe)
	low   = start.Epoch(0xfffffffe)
	mid   = start.Epoch(0xffffffff)
	high  = (start + 1).Epoch(0)
)

func steps(t *testing.T, c Claims, _ time.Duration) {
	t.Helper()
	for i, s := range []struct {
		why     string
		release bool
		id      placement.ID
		epoch   placement.Epoch
		node    placement.NodeID
		holder  placement.NodeID
		ok      bool
	}{
		{why: "release of what nobody holds", release: true, id: web1, epoch: mid, node: "n1"},
		{why: "free", id: web1, epoch: mid, node: "n1", holder: "n1", ok: true},
		{why: "already ours", id: web1, epoch: mid, node: "n1", holder: "n1", ok: true},
		{why: "held by another", id: web1, epoch: mid, node: "n2", holder: "n1"},
		{why: "another placement", id: web2, epoch: mid, node: "n2", holder: "n2", ok: true},
		{why: "a lower epoch", id: web1, epoch: low, node: "n2", holder: "n1"},
		{why: "our own lower epoch", id: web1, epoch: low, node: "n1", holder: "n1"},
		{why: "release by another node", release: true, id: web1, epoch: mid, node: "n2"},
		{why: "release of a lower epoch", release: true, id: web1, epoch: low, node: "n1"},
		{why: "release of a higher epoch", release: true, id: web1, epoch: high, node: "n1"},
		{why: "still held", id: web1, epoch: mid, node: "n2", holder: "n1"},
		{why: "a higher epoch", id: web1, epoch: high, node: "n2", holder: "n2", ok: true},
		{why: "the former holder", id: web1, epoch: mid, node: "n1", holder: "n2"},
		{why: "late release by the former holder", release: true, id: web1, epoch: mid, node: "n1"},
		{why: "held after the late release", id: web1, epoch: high, node: "n1", holder: "n2"},
		{why: "release", release: true, id: web1, epoch: high, node: "n2"},
		{why: "release again", release: true, id: web1, epoch: high, node: "n2"},
		{why: "free again, for any epoch", id: web1, epoch: low, node: "n3", holder: "n3", ok: true},
		{why: "the other placement untouched", id: web2, epoch: mid, node: "n1", holder: "n2"},
	} {
		if s.release {
			if err := c.Release(t.Context(), s.id, s.epoch, s.node); err != nil {
				t.Fatalf("step %d, %s: %v", i, s.why, err)
			}
			continue
		}
		holder, ok, err := c.Acquire(t.Context(), s.id, s.epoch, s.node)
		if err != nil {
			t.Fatalf("step %d, %s: %v", i, s.why, err)
		}
		if holder != s.holder || ok != s.ok {
			t.Fatalf("step %d, %s: got %s %v, want %s %v", i, s.why, holder, ok, s.holder, s.ok)
		}
	}
}

// Answer is what one contender of a [Race] was told.
type Answer struct {
	Node, Holder placement.NodeID
	OK           bool
}

// Race lets n contenders ask at the same time, each through its own table,
// and returns what they were told.
func Race(t *testing.T, n int, claims func(i int) Claims, epoch func(i int) placement.Epoch) []Answer {
	t.Helper()
	answers := make([]Answer, n)
	gate := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-gate
			node := placement.NodeID(fmt.Sprintf("n%d", i))
			holder, ok, err := claims(i).Acquire(t.Context(), web1, epoch(i), node)
			if err != nil {
				t.Error(err)
			}
			answers[i] = Answer{Node: node, Holder: holder, OK: ok}
		})
	}
	close(gate)
	group.Wait()
	return answers
}

// CheckOneWinner fails t unless one contender was granted the claim and all
// others were told so.
func CheckOneWinner(t *testing.T, answers []Answer) {
	t.Helper()
	var winners []placement.NodeID
	for _, a := range answers {
		if a.OK {
			winners = append(winners, a.Node)
		}
	}
	if len(winners) != 1 {
		t.Fatalf("winners: %v, want one", winners)
	}
	for _, a := range answers {
		if a.Holder != winners[0] {
			t.Errorf("%s was told that %s holds it, and it was %s", a.Node, a.Holder, winners[0])
		}
	}
}

func oneWinner(t *testing.T, c Claims, _ time.Duration) {
	t.Helper()
	CheckOneWinner(t, Race(t, 16, func(int) Claims { return c }, func(int) placement.Epoch { return mid }))
}

func highestEpochWins(t *testing.T, c Claims, _ time.Duration) {
	t.Helper()
	const n = 16
	answers := Race(t, n, func(int) Claims { return c }, func(i int) placement.Epoch { return start.Epoch(uint32(i)) })
	if !answers[n-1].OK {
		t.Errorf("the highest epoch was refused: %v", answers[n-1])
	}
	holder, ok, err := c.Acquire(t.Context(), web1, start.Epoch(0), "late")
	if err != nil || ok || holder != answers[n-1].Node {
		t.Errorf("afterwards: held by %s (granted %v, err %v), want %s", holder, ok, err, answers[n-1].Node)
	}
}

// grantedAfter asks for node until it is granted and returns how long after
// since that was.
func grantedAfter(t *testing.T, c Claims, node placement.NodeID, since time.Time) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		_, ok, err := c.Acquire(ctx, web1, mid, node)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return time.Since(since)
		}
		<-tick.C
	}
}

func expires(t *testing.T, c Claims, ttl time.Duration) {
	t.Helper()
	before := time.Now()
	mustAcquire(t, c, "n1")
	if got := grantedAfter(t, c, "n2", before); got < ttl {
		t.Errorf("granted to another after %v, before the %v of the first were over", got, ttl)
	}
	if holder, ok, err := c.Acquire(t.Context(), web1, mid, "n1"); err != nil || ok || holder != "n2" {
		t.Errorf("the former holder got %s %v %v, want to hear of n2", holder, ok, err)
	}
}

func renewalExtends(t *testing.T, c Claims, ttl time.Duration) {
	t.Helper()
	mustAcquire(t, c, "n1")
	before := time.Now()
	for range 4 { // nobody else asks, so it is granted even if this test is late
		timer := time.NewTimer(ttl / 2)
		<-timer.C
		before = time.Now()
		mustAcquire(t, c, "n1")
	}
	if got := grantedAfter(t, c, "n2", before); got < ttl {
		t.Errorf("granted to another %v after a renewal for %v", got, ttl)
	}
}

func mustAcquire(t *testing.T, c Claims, node placement.NodeID) {
	t.Helper()
	if holder, ok, err := c.Acquire(t.Context(), web1, mid, node); err != nil || !ok || holder != node {
		t.Fatalf("%s got %s %v %v, want it granted", node, holder, ok, err)
	}
}

func endedContext(t *testing.T, c Claims, _ time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok, err := c.Acquire(ctx, web1, mid, "n1"); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("acquire: %v %v, want the context's error", ok, err)
	}
	if err := c.Release(ctx, web1, mid, "n1"); !errors.Is(err, context.Canceled) {
		t.Errorf("release: %v, want the context's error", err)
	}
}

func invalidWords(t *testing.T, c Claims, _ time.Duration) {
	t.Helper()
	for _, w := range []struct {
		id    placement.ID
		epoch placement.Epoch
		node  placement.NodeID
	}{
		{"", mid, "n1"}, {web1, mid, ""}, {web1, "", "n1"}, {web1, "12", "n1"}, {web1, mid[1:] + "G", "n1"},
	} {
		var problem *placement.Error
		if _, ok, err := c.Acquire(t.Context(), w.id, w.epoch, w.node); ok || !errors.As(err, &problem) || problem.Kind != placement.KindInvalid {
			t.Errorf("acquire %+v: %v %v, want Invalid", w, ok, err)
		}
		if err := c.Release(t.Context(), w.id, w.epoch, w.node); !errors.As(err, &problem) || problem.Kind != placement.KindInvalid {
			t.Errorf("release %+v: %v, want Invalid", w, err)
		}
	}
}
