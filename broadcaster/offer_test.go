package broadcaster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
)

func nodes(n int) view {
	var v view
	for i := range n {
		v = append(v, ready(fmt.Sprintf("n%02d", i+1), 1000))
	}
	return v
}

// counter counts the offers of each node, and how many are open at once.
type counter struct {
	mu     sync.Mutex
	offers map[placement.NodeID]int
	free   int // of them without claim
	open   int
	most   int
}

func (c *counter) wrap(node placement.NodeID, a agent) agent {
	return func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
		c.mu.Lock()
		if c.offers == nil {
			c.offers = map[placement.NodeID]int{}
		}
		c.offers[node]++
		c.open++
		c.most = max(c.most, c.open)
		if o.Lockless {
			c.free++
		}
		c.mu.Unlock()
		got, err := a(ctx, o)
		c.mu.Lock()
		c.open--
		c.mu.Unlock()
		return got, err
	}
}

// racing passes so many times for a placement that has not won its claim yet.
func racing(times int, then agent) agent {
	var mu sync.Mutex
	return func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
		mu.Lock()
		times--
		over := times < 0
		mu.Unlock()
		if over {
			return then(ctx, o)
		}
		return placement.OfferAnswer{Reason: placement.Reason{Code: placement.ReasonHAToken, Need: "t", Have: "held by a/b/c/1", Soon: true}}, nil
	}
}

func TestChain(t *testing.T) {
	broken := func(context.Context, placement.Offer) (placement.OfferAnswer, error) {
		return placement.OfferAnswer{}, errors.New("out of order")
	}
	tests := []struct {
		name    string
		n       int
		agents  map[int]agent // by number; others pass for cpu
		try     placement.Try
		taken   placement.NodeID
		asked   int
		passes  map[string]int // by code
		soonest time.Duration
		latest  time.Duration
		offers  int // made in all; 0: not checked
	}{
		{name: "no node", n: 0},
		{name: "all pass", n: 3, asked: 3, passes: map[string]int{"cpu": 3}, latest: 10 * time.Millisecond, offers: 3},
		{name: "all pass, lasting refusals asked once", n: 40, asked: 40, passes: map[string]int{"cpu": 40}, latest: 10 * time.Millisecond, offers: 40},
		{name: "one takes", n: 3, agents: map[int]agent{2: takes}, taken: "n02", asked: 3, latest: 10 * time.Millisecond},
		{name: "a take settles though others hang", n: 3, agents: map[int]agent{1: after(time.Hour, takes), 2: takes, 3: after(time.Hour, takes)}, taken: "n02", asked: 3, latest: 10 * time.Millisecond},
		{name: "a slow node delays no round", n: 7, agents: map[int]agent{1: after(1900*time.Millisecond, passes("memory"))}, asked: 7, passes: map[string]int{"cpu": 6, "memory": 1}, soonest: 1900 * time.Millisecond, latest: 2 * time.Second, offers: 7},
		{name: "late take counts", n: 12, agents: map[int]agent{5: after(1500*time.Millisecond, takes)}, taken: "n05", asked: 12, soonest: 1500 * time.Millisecond, latest: 2 * time.Second},
		{name: "hung node is silent after 2 s", n: 3, agents: map[int]agent{3: after(time.Hour, takes)}, asked: 3, passes: map[string]int{"cpu": 2, "silence": 1}, soonest: 2 * time.Second, latest: 2100 * time.Millisecond},
		{name: "broken agent", n: 3, agents: map[int]agent{3: broken}, asked: 3, passes: map[string]int{"cpu": 2, "silence": 1}, latest: 10 * time.Millisecond},
		{name: "all hang", n: 3, agents: map[int]agent{1: after(time.Hour, takes), 2: after(time.Hour, takes), 3: after(time.Hour, takes)}, asked: 3, passes: map[string]int{"silence": 3}, soonest: 2 * time.Second, latest: 2100 * time.Millisecond},
		{name: "the node asked for", n: 12, agents: map[int]agent{7: takes}, try: placement.Try{Request: placement.Request{Node: "n07"}}, taken: "n07", asked: 1, latest: 10 * time.Millisecond, offers: 1},
		{name: "the node asked for passes", n: 12, try: placement.Try{Request: placement.Request{Node: "n07"}}, asked: 1, passes: map[string]int{"cpu": 1}, latest: 10 * time.Millisecond, offers: 1},
		{name: "what was only racing is gone", n: 3, agents: map[int]agent{2: racing(2, takes)}, taken: "n02", asked: 3, soonest: 40 * time.Millisecond, latest: 50 * time.Millisecond, offers: 5},
		{name: "what races on and on", n: 3, agents: map[int]agent{2: racing(99, takes)}, asked: 3, passes: map[string]int{"cpu": 2, "ha_token": 1}, soonest: 60 * time.Millisecond, latest: 70 * time.Millisecond, offers: 6},
		{name: "without claim", n: 12, agents: map[int]agent{4: after(time.Second, passes("disk"))}, try: placement.Try{Lockless: true}, asked: 12, passes: map[string]int{"cpu": 11, "disk": 1}, soonest: time.Second, latest: 1100 * time.Millisecond, offers: 12},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, nodes(tt.n), plainImages)
				var c counter
				for i := range tt.n {
					a := tt.agents[i+1]
					if a == nil {
						a = passes("cpu")
					}
					name := fmt.Sprintf("n%02d", i+1)
					w.node(name, c.wrap(placement.NodeID(name), a))
				}
				got := w.offer(tt.try)
				if got.Taken != tt.taken || got.Asked > tt.n || tt.taken == "" && got.Asked != tt.asked {
					t.Errorf("taken by %q, %d asked; want %q, %d", got.Taken, got.Asked, tt.taken, tt.asked)
				}
				if got.after < tt.soonest || tt.latest > 0 && got.after > tt.latest {
					t.Errorf("settled after %s, want %s to %s", got.after, tt.soonest, tt.latest)
				}
				count := map[string]int{}
				for _, p := range got.Passes {
					count[p.Reason.Code]++
				}
				if tt.taken == "" && fmt.Sprint(count) != fmt.Sprint(tt.passes) && len(count)+len(tt.passes) > 0 {
					t.Errorf("passes %v, want %v", count, tt.passes)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				total := 0
				for _, n := range c.offers {
					total += n
				}
				if tt.offers > 0 && total != tt.offers {
					t.Errorf("%d offers, want %d: %v", total, tt.offers, c.offers)
				}
				if tt.try.Lockless && (c.most != 1 || c.free != total) {
					t.Errorf("without claim %d nodes at once, %d of %d offers without", c.most, c.free, total)
				}
			})
		})
	}
}

// TestBarred: nodes whose domain the ledger knows to be taken are not asked, and
// count as having passed; one that is not eligible does not count.
func TestBarred(t *testing.T) {
	held := placement.Reason{Code: placement.ReasonHAToken, Need: "web", Have: "held by alice/shop/web/1"}
	for _, lockless := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nodes(4), plainImages)
			var c counter
			for i := range 4 {
				name := placement.NodeID(fmt.Sprintf("n%02d", i+1))
				w.node(string(name), c.wrap(name, passes("cpu")))
			}
			got := w.offer(placement.Try{Lockless: lockless, Barred: []placement.Pass{{Node: "n01", Reason: held}, {Node: "n03", Reason: held}, {Node: "gone", Reason: held}}})
			if got.Asked != 2 || len(got.Passes) != 4 || got.Passes[0].Reason != held || got.Passes[1].Reason.Code != "cpu" || c.offers["n01"]+c.offers["n03"] != 0 {
				t.Errorf("%d asked, offers %v, passes %+v", got.Asked, c.offers, got.Passes)
			}
		})
	}
}

// TestPassingRefusals: a node that is busy is asked again in the next rounds.
func TestPassingRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(12), plainImages)
		var c counter
		for i := range 12 {
			name := placement.NodeID(fmt.Sprintf("n%02d", i+1))
			w.node(string(name), c.wrap(name, passes(placement.ReasonBusy)))
		}
		got := w.offer(placement.Try{})
		total := 0
		for _, n := range c.offers {
			total += n
		}
		if got.Asked != 12 || len(got.Passes) != 12 || total != 3+6+12 {
			t.Errorf("%d asked, %d passes, %d offers; want 12, 12, 21", got.Asked, len(got.Passes), total)
		}
	})
}

// TestNoLocks: when nodes say that the lock table is gone, the same chain goes
// on with one node at a time, without claims.
func TestNoLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(7), plainImages)
		var c counter
		for i := range 7 {
			name := placement.NodeID(fmt.Sprintf("n%02d", i+1))
			w.node(string(name), c.wrap(name, func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
				switch {
				case !o.Lockless:
					return passes(placement.ReasonNoLocks)(ctx, o)
				case name == "n06":
					return takes(ctx, o)
				}
				return after(100*time.Millisecond, passes("cpu"))(ctx, o)
			}))
		}
		got := w.offer(placement.Try{})
		if got.Taken != "n06" {
			t.Errorf("taken by %q, want n06", got.Taken)
		}
		if c.free == 0 {
			t.Error("no offer went out without claim")
		}
	})
}

// TestTakenWithoutLocks: a take that says the lock table is gone makes the next
// chains ask one node at a time, for a while.
func TestTakenWithoutLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(3), plainImages)
		var c counter
		for i := range 3 {
			name := placement.NodeID(fmt.Sprintf("n%02d", i+1))
			w.node(string(name), c.wrap(name, func(_ context.Context, o placement.Offer) (placement.OfferAnswer, error) {
				answer := placement.OfferAnswer{Taken: true}
				if !o.Lockless {
					answer.Reason.Code = placement.ReasonNoLocks
				}
				return answer, nil
			}))
		}
		free := func(i int) int {
			c.mu.Lock()
			before := c.free
			c.mu.Unlock()
			if got := w.offer(placement.Try{ID: id(i)}); got.Taken == "" {
				t.Errorf("try %d was not taken", i)
			}
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.free - before
		}
		if n := free(1); n != 0 {
			t.Errorf("the first chain made %d offers without claim", n)
		}
		if n := free(2); n != 1 {
			t.Errorf("the second chain made %d offers without claim, want 1", n)
		}
		time.Sleep(6 * time.Second)
		if n := free(3); n != 0 {
			t.Errorf("after a while a chain made %d offers without claim", n)
		}
	})
}

// TestSlowNodeHoldsUpNobody: 600 placements flow past a node that hangs.
func TestSlowNodeHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(3), plainImages)
		w.node("n01", after(time.Hour, takes))
		w.node("n02", takes)
		w.node("n03", passes("cpu"))
		begin := time.Now()
		for i := range 600 {
			w.ledger.due <- placement.Try{ID: id(i)}
		}
		for i := range 600 {
			if s := w.settled(id(i)); s.Taken != "n02" {
				t.Fatalf("%s was taken by %q", id(i), s.Taken)
			}
		}
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func id(i int) placement.ID {
	return placement.NewReplica("alice", "shop", "web", i+1).Placement(placement.NewStart(1, 1).Life(1))
}

func TestSameSeedSameChoices(t *testing.T) {
	order := func() (asked string) {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nodes(20), plainImages)
			var mu sync.Mutex
			for i := range 20 {
				name := fmt.Sprintf("n%02d", i+1)
				w.node(name, func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
					mu.Lock()
					asked += name + " "
					mu.Unlock()
					return passes("cpu")(ctx, o)
				})
			}
			w.offer(placement.Try{Lockless: true, Tries: 7})
		})
		return asked
	}
	if a, b := order(), order(); a != b {
		t.Errorf("asked %s, then %s", a, b)
	}
}
