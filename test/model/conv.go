package model

import (
	"fmt"
	"math/bits"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// A start is term<<2 | random, an epoch is start<<3 | counter.
const (
	randomBits  = 2
	counterBits = 3
	maxCounter  = 1<<counterBits - 1
)

func productStart(s uint8) placement.Start {
	return placement.NewStart(uint32(s>>randomBits), uint16(s&(1<<randomBits-1)))
}

func modelStart(s placement.Start) uint8 {
	return uint8(s.Term())<<randomBits | uint8(s&(1<<randomBits-1))
}

func startOf(e uint8) uint8 { return e >> counterBits }

// names are the product's words for the model's numbers.
type names struct {
	node   [maxNodes]placement.NodeID
	domain [maxNodes]string // slot keys
	place  [maxPlaces]placement.ID
	life   [maxPlaces]placement.Life
	epoch  [256]placement.Epoch
	digest [8]string
}

var owners = [...]string{"alice", "bob"}

func newNames(c *Config) *names {
	var w names
	for i := range w.node {
		w.node[i] = placement.NodeID(fmt.Sprintf("n%d", i))
		w.domain[i] = fmt.Sprintf("h/alice/web/%d", i)
	}
	for e := range w.epoch {
		w.epoch[e] = productStart(startOf(uint8(e))).Epoch(uint32(e & maxCounter))
	}
	w.epoch[0] = ""
	for i := range c.places() {
		w.life[i] = placement.NewStart(1, 0).Life(uint32(i + 1))
		w.place[i] = c.replica(i).Placement(w.life[i])
	}
	for i := range w.digest {
		w.digest[i] = fmt.Sprintf("d%d", i)
	}
	return &w
}

// replica is the replica that a placement is a life of.
func (c *Config) replica(p int) placement.Replica {
	r := c.Replica[p]
	return placement.NewReplica(owners[c.Owner[r]], "app"+string(rune('a'+r)), "web", 1)
}

func (w *names) modelEpoch(e placement.Epoch) uint8 {
	if e == "" {
		return 0
	}
	hex := func(b byte) uint8 {
		if b >= 'a' {
			return b - 'a' + 10
		}
		return b - '0'
	}
	return hex(e[7])<<(randomBits+counterBits) | hex(e[11])<<counterBits | hex(e[19])
}

func (w *names) productAt(a At) placement.SessionOp {
	return placement.SessionOp{Session: uint64(a.S), Op: uint64(a.O)}
}

func modelAt(a placement.SessionOp) At { return At{uint8(a.Session), uint8(a.Op)} }

func (w *names) productHolder(h Holder) *placement.Holder {
	if h.N == 0 {
		return nil
	}
	return &placement.Holder{Node: w.node[h.N-1], Epoch: w.epoch[h.E], At: w.productAt(h.At)}
}

func (w *names) modelHolder(h *placement.Holder) Holder {
	if h == nil {
		return Holder{}
	}
	return Holder{N: w.modelNode(h.Node), E: w.modelEpoch(h.Epoch), At: modelAt(h.At)}
}

func (w *names) productNode(n uint8) placement.NodeID {
	if n == 0 {
		return ""
	}
	return w.node[n-1]
}

func (w *names) modelNode(n placement.NodeID) uint8 {
	if n == "" {
		return 0
	}
	return n[1] - '0' + 1
}

var productStates = [...]placement.State{
	pending: placement.Pending, bound: placement.Bound, running: placement.Running,
	done: placement.Done, dead: placement.Dead, cancelled: placement.Cancelled,
}

func modelState(s placement.State) uint8 {
	for i, name := range productStates {
		if name == s && i != unborn {
			return uint8(i)
		}
	}
	panic("the model does not know state " + string(s))
}

// product is the record as the rules take it.
func (c *run) product(p int) rule.Record { return c.productRec(p, &c.t.D.Recs[p]) }

func (c *run) productRec(p int, r *Rec) rule.Record {
	return rule.Record{
		V: placement.Format, ID: c.w.place[p], State: productStates[r.State], Epoch: c.w.epoch[r.E],
		Bound: c.w.productHolder(r.Bound), Last: c.w.productHolder(r.Last), Slot: c.slotKey(r.Slot),
		Request: c.request(p), Digest: c.w.digest[r.Digest], Expired: r.Expired == 1,
		Why: "a reason", By: someone(r.By), Again: r.Again == 1, Home: c.w.productNode(r.Home),
	}
}

func someone(by uint8) string {
	if by == 1 {
		return "someone"
	}
	return ""
}

func (c *run) slotKey(domain uint8) string {
	if domain == 0 {
		return ""
	}
	return c.w.domain[domain-1]
}

func (c *run) request(p int) placement.Request {
	r := placement.Request{V: placement.Format, Restart: c.cfg.Restart, Needs: placement.Resources{CPU: 1000}}
	if c.cfg.Token {
		r.HAToken = "web"
	}
	return r
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// model writes back what a rule made of a record.
func (c *run) model(p int, r rule.Record) {
	m := &c.t.D.Recs[p]
	m.State, m.E = modelState(r.State), c.w.modelEpoch(r.Epoch)
	m.Bound, m.Last = c.w.modelHolder(r.Bound), c.w.modelHolder(r.Last)
	m.Slot, m.Expired, m.By, m.Again, m.Home = 0, bit(r.Expired), bit(r.By != ""), bit(r.Again), c.w.modelNode(r.Home)
	if r.Slot != "" {
		m.Slot = r.Slot[len(r.Slot)-1] - '0' + 1
	}
}

// slot is an HA slot as the rules take it.
func (c *run) slot(domain uint8) rule.Slot {
	s := rule.Slot{V: placement.Format}
	if domain == 0 {
		return s
	}
	for b := c.t.D.Slots[domain-1]; b != 0; b &= b - 1 {
		s.Placements = append(s.Placements, c.w.place[bits.TrailingZeros8(b)])
	}
	return s
}

func (c *run) setSlot(domain uint8, s rule.Slot) {
	if domain == 0 {
		return
	}
	var b uint8
	for _, id := range s.Placements {
		for p, name := range c.w.place {
			b |= bit(name == id) << p
		}
	}
	c.t.D.Slots[domain-1] = b
}

// domainOf is the slot that a placement needs on a node.
func (c *run) domainOf(n int) uint8 {
	if !c.cfg.Token {
		return 0
	}
	return c.cfg.Domain[n] + 1
}
