package agent

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"longshore/internal/placement"
)

// keptPasses is how many of the newest refusals the agent remembers.
const keptPasses = 256

// passed remembers the offers that the node passed on last.
type passed struct {
	mu   sync.Mutex
	ring []pastPass
	next int
}

type pastPass struct {
	placement.Passed
	at time.Time
}

func (p *passed) add(o placement.Offer, why placement.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := pastPass{placement.Passed{ID: o.ID, Epoch: o.Epoch, Reason: why}, time.Now()}
	if len(p.ring) < keptPasses {
		p.ring = append(p.ring, one)
		return
	}
	p.ring[p.next] = one
	p.next = (p.next + 1) % keptPasses
}

// Refusals are the last offers that this node passed on, newest first; 256 at
// most, since this agent started.
func (a *Agent) Refusals() []placement.Passed {
	p := &a.passed
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []placement.Passed{}
	for i := range p.ring {
		one := p.ring[(p.next+len(p.ring)-1-i)%len(p.ring)]
		one.Ago = placement.Millis(time.Since(one.at).Milliseconds())
		out = append(out, one.Passed)
	}
	return out
}

// Capacity is how full the node is, owner by owner.
func (a *Agent) Capacity() placement.NodeCapacity {
	room := a.Room()
	a.mu.Lock()
	defer a.mu.Unlock()
	shares := map[string]placement.OwnerShare{}
	for _, h := range a.book.holds {
		s := shares[h.ID.Owner()]
		s.Owner, s.Promised, s.Copies = h.ID.Owner(), s.Promised.Plus(needs(h.Request, a.cfg.Defaults)), s.Copies+1
		shares[s.Owner] = s
	}
	return placement.NodeCapacity{
		Room: room, Free: room.Free(), Strangers: a.book.strangers,
		Owners: slices.SortedFunc(maps.Values(shares), func(x, y placement.OwnerShare) int { return cmp.Compare(x.Owner, y.Owner) }),
	}
}
