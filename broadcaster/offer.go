package broadcaster

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"longshore/internal/placement"
	"longshore/internal/trace"
)

const (
	roundTime    = 300 * time.Millisecond // until the next wider round
	offerTime    = 2 * time.Second        // one node's time for its answer
	locklessTime = 30 * time.Second       // of a whole chain that asks one node at a time
	raceTime     = 20 * time.Millisecond  // until a placement that races for its claim has it, or is gone
	raceRounds   = 3                      // more rounds at most, to nodes that passed for such a one
	offerValid   = placement.Millis(10_000)
)

// asker sends one offer to one node.
type asker interface {
	Offer(ctx context.Context, node placement.NodeID, o placement.Offer) (placement.OfferAnswer, error)
}

// answer is one node's.
type answer struct {
	node   placement.NodeID
	taken  bool
	reason placement.Reason
}

// chain is the rounds of one try. It lives in the goroutine that runs it; only
// the channel is shared.
type chain struct {
	ask     asker
	offer   placement.Offer
	nodes   []placement.NodeStatus // eligible
	rng     *rand.Rand
	answers chan answer

	pending map[placement.NodeID]bool // asked, and not yet answered
	lasting map[placement.NodeID]bool // passed for good
	passes  map[placement.NodeID]placement.Reason
	asked   map[placement.NodeID]bool
	noLocks bool // a node said that it cannot reach the lock table
}

func newChain(ask asker, offer placement.Offer, nodes []placement.NodeStatus, rng *rand.Rand) *chain {
	return &chain{
		ask: ask, offer: offer, nodes: nodes, rng: rng,
		answers: make(chan answer),
		pending: map[placement.NodeID]bool{}, lasting: map[placement.NodeID]bool{},
		passes: map[placement.NodeID]placement.Reason{}, asked: map[placement.NodeID]bool{},
	}
}

// bar counts nodes as having passed for good without asking them.
func (c *chain) bar(barred []placement.Pass) {
	for _, p := range barred {
		if slices.ContainsFunc(c.nodes, func(n placement.NodeStatus) bool { return n.Node == p.Node }) {
			c.passes[p.Node], c.lasting[p.Node] = p.Reason, true
		}
	}
}

// run asks until a node takes the offer or all have passed. Offers still on
// their way then are called back. It returns when its goroutines have ended.
func (c *chain) run(ctx context.Context) placement.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var taken placement.NodeID
	if !c.offer.Lockless {
		taken = c.rounds(ctx, &wg)
	}
	if taken == "" && (c.offer.Lockless || c.noLocks) {
		taken = c.oneByOne(ctx, &wg)
	}
	return c.outcome(taken)
}

// rounds sends a round's offers at once, and the next wider round when all of
// this one have passed or its time is over. At last it waits for whoever has
// not answered yet.
func (c *chain) rounds(ctx context.Context, wg *sync.WaitGroup) (taken placement.NodeID) {
	for _, width := range Rounds(len(c.nodes)) {
		if taken = c.round(ctx, wg, width, func(n placement.NodeID) bool { return c.lasting[n] || c.pending[n] }); taken != "" {
			return taken
		}
		if c.noLocks || ctx.Err() != nil {
			break
		}
	}
	taken = c.wait(ctx, 2*offerTime, c.answered)
	for range raceRounds {
		if taken != "" || !c.racing() || c.noLocks || ctx.Err() != nil {
			break
		}
		pause(ctx, raceTime)
		if taken = c.round(ctx, wg, len(c.nodes), func(n placement.NodeID) bool { return !c.passes[n].Soon }); taken == "" {
			taken = c.wait(ctx, 2*offerTime, c.answered)
		}
	}
	return taken
}

// round sends the offer to so many nodes that are not closed and waits for
// their answers, but not for ever.
func (c *chain) round(ctx context.Context, wg *sync.WaitGroup, width int, isClosed func(placement.NodeID) bool) (taken placement.NodeID) {
	closed := map[placement.NodeID]bool{}
	for _, n := range c.nodes {
		closed[n.Node] = isClosed(n.Node)
	}
	round := Sample(c.rng, c.nodes, c.offer.Request, width, closed)
	calls, step := trace.Start(ctx, "round")
	defer func() { step.End(nil) }()
	for _, n := range round {
		c.send(calls, wg, n)
	}
	return c.wait(ctx, roundTime, func() bool {
		return !slices.ContainsFunc(round, func(n placement.NodeID) bool { return c.pending[n] })
	})
}

// answered tells whether nobody is waited for.
func (c *chain) answered() bool { return len(c.pending) == 0 }

// racing tells whether a node passed only for what may be gone in a moment.
func (c *chain) racing() bool {
	for _, why := range c.passes {
		if why.Soon {
			return true
		}
	}
	return false
}

// oneByOne asks every node that did not pass for good in turn, without claims.
func (c *chain) oneByOne(ctx context.Context, wg *sync.WaitGroup) (taken placement.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, locklessTime)
	defer cancel()
	c.offer.Lockless = true
	for _, n := range Sample(c.rng, c.nodes, c.offer.Request, len(c.nodes), c.lasting) {
		if ctx.Err() != nil {
			break
		}
		c.send(ctx, wg, n)
		if taken = c.wait(ctx, 2*offerTime, c.answered); taken != "" {
			return taken
		}
	}
	return ""
}

// send makes the offer to a node in a goroutine of its own, which hands the
// answer to wait, or drops it when the chain is over.
func (c *chain) send(ctx context.Context, wg *sync.WaitGroup, node placement.NodeID) {
	c.pending[node], c.asked[node] = true, true
	offer := c.offer
	wg.Go(func() {
		call, cancel := context.WithTimeout(ctx, offerTime)
		defer cancel()
		got, err := c.ask.Offer(call, node, offer)
		a := answer{node: node, taken: got.Taken, reason: got.Reason}
		if err != nil {
			a = answer{node: node, reason: placement.Reason{Code: placement.ReasonSilence, Text: err.Error()}}
		}
		select {
		case c.answers <- a:
		case <-ctx.Done():
		}
	})
}

// wait takes in answers until done says so, a node took the offer, or the time
// is over.
func (c *chain) wait(ctx context.Context, limit time.Duration, done func() bool) (taken placement.NodeID) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !done() {
		select {
		case a := <-c.answers:
			delete(c.pending, a.node)
			c.noLocks = c.noLocks || a.reason.Code == placement.ReasonNoLocks
			if a.taken {
				delete(c.passes, a.node)
				return a.node
			}
			c.passes[a.node] = a.reason
			c.lasting[a.node] = a.reason.Lasting()
		case <-timer.C:
			return ""
		case <-ctx.Done():
			return ""
		}
	}
	return ""
}

func (c *chain) outcome(taken placement.NodeID) placement.Outcome {
	o := placement.Outcome{Taken: taken, Asked: len(c.asked)}
	for node, reason := range c.passes {
		o.Passes = append(o.Passes, placement.Pass{Node: node, Reason: reason})
	}
	slices.SortFunc(o.Passes, func(a, b placement.Pass) int { return cmp.Compare(a.Node, b.Node) })
	return o
}
