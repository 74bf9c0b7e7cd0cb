package placement

import (
	"cmp"
	"fmt"
	"strconv"
)

// Start numbers one start of a ledger: its term, which grows by one at each
// start, and 16 random bits, so that two histories of a copied ledger file
// never meet in one number.
type Start uint64

// NewStart is term<<16 | random. A term fits 32 bits.
func NewStart(term uint32, random uint16) Start { return Start(term)<<16 | Start(random) }

// Term is the part of s that grows by one at each start.
func (s Start) Term() uint32 { return uint32(s >> 16) }

// Epoch is the n-th epoch given by this start.
func (s Start) Epoch(n uint32) Epoch { return Epoch(fmt.Sprintf("%012x%08x", uint64(s), n)) }

// Life is the n-th life given by this start.
func (s Start) Life(n uint32) Life { return Life(s.Epoch(n)) }

// Epoch is the fencing token of a placement: the number of its life on a node,
// (start, counter) as 20 hex digits. The text order of epochs is their number
// order; "" is before all. It only grows, and no epoch is given twice.
type Epoch string

// Life numbers the placements of one replica, in the form of an [Epoch].
type Life string

// Start is the start that gave the epoch; 0 if e is not valid.
func (e Epoch) Start() Start {
	if len(e) != 20 {
		return 0
	}
	s, err := strconv.ParseUint(string(e[:12]), 16, 64)
	if err != nil {
		return 0
	}
	return Start(s)
}

// Valid tells whether e has the form of an epoch.
func (e Epoch) Valid() bool {
	if len(e) != 20 {
		return false
	}
	for _, c := range e {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Mark is what every answer and every order of a ledger carries, so that
// whoever keeps the highest can prove that a ledger was rolled back.
type Mark struct {
	Gen   uint64 `json:"gen"`   // generation: grows when a ledger is restored, rebuilt or found rolled back
	Start Start  `json:"start"` // the ledger's present start
	Rev   uint64 `json:"rev"`   // number of its last transition
}

// Compare orders marks by generation, start and revision.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(cmp.Compare(m.Gen, o.Gen), cmp.Compare(m.Start, o.Start), cmp.Compare(m.Rev, o.Rev))
}

// SessionOp orders what an agent has done: the session that the ledger gave it
// at its last registration, and a counter that agentd steps at each change it
// makes on any container and at each bind. The zero value is before all.
type SessionOp struct {
	Session uint64 `json:"session"`
	Op      uint64 `json:"op"`
}

// Compare orders by session, then by op.
func (a SessionOp) Compare(b SessionOp) int {
	return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Op, b.Op))
}

// Holder says which node may run, or may have back, which epoch, and as of
// which of its agent's operations.
type Holder struct {
	Node  NodeID    `json:"node"`
	Epoch Epoch     `json:"epoch"`
	At    SessionOp `json:"at"`
}

// Is tells whether h names exactly this node and epoch.
func (h *Holder) Is(node NodeID, e Epoch) bool {
	return h != nil && h.Node == node && h.Epoch == e
}
