package rule

import (
	"fmt"
	"slices"

	"longshore/internal/placement"
)

// StartAt is one start of the ledger and the revision of its first transition.
type StartAt struct {
	Start placement.Start `json:"start"`
	First uint64          `json:"first"`
}

// Meta is the durable record of the ledger itself.
type Meta struct {
	V       int       `json:"v"`
	Cluster string    `json:"cluster"` // made with the ledger
	Gen     uint64    `json:"gen"`
	Starts  []StartAt `json:"starts"` // oldest first; the last is the present one
	Hold    bool      `json:"hold"`   // since the generation changed: no offers, binds, stop orders
	// Expect is set while a ledger that was made anew for a lost one holds: how
	// many nodes it waits for, or [ExpectAny].
	Expect int `json:"expect,omitempty"`
	// Fork is set with Hold: the first start that the history which was lost
	// does not have, as far as is known.
	Fork placement.Start `json:"fork,omitempty"`
}

// ExpectAny is what a ledger expects that was not told how many nodes there
// are: its hold lasts as long as it may.
const ExpectAny = -1

// keepStarts is how many starts are remembered; what was shown by an older one
// can be judged no more.
const keepStarts = 4096

// Begin is the ledger's next start: its term is above its own last and above
// the shown one, its first revision is first. renew takes a new generation,
// above the own and the shown one, and holds; shown is zero but for a rollback.
func (m Meta) Begin(random uint16, first uint64, renew bool, shown placement.Mark) Meta {
	term := shown.Start.Term()
	if n := len(m.Starts); n > 0 {
		term = max(term, m.Starts[n-1].Start.Term())
	}
	starts := append([]StartAt(nil), m.Starts...)
	if len(starts) >= keepStarts {
		starts = starts[len(starts)-keepStarts+1:]
	}
	before := m.Start()
	m.Starts = append(starts, StartAt{Start: placement.NewStart(term+1, random), First: first})
	if renew {
		m.Gen = max(m.Gen, shown.Gen) + 1
		m.Hold = true
	}
	if m.Hold && m.Fork == 0 {
		m.Fork = m.Start()
		if shown.Start != 0 { // the start that met the proof was one after the fork
			m.Fork = before
		}
	}
	return m
}

// AfterFork tells whether a life was drawn after the history that was lost
// forked off: it is newer than all lives of that, whatever their numbers say.
func (m Meta) AfterFork(k placement.Life) bool {
	at := func(s placement.Start) int {
		return slices.IndexFunc(m.Starts, func(o StartAt) bool { return o.Start == s })
	}
	fork := at(m.Fork)
	return fork >= 0 && at(placement.Epoch(k).Start()) >= fork
}

// Start is the present one.
func (m Meta) Start() placement.Start {
	if len(m.Starts) == 0 {
		return 0
	}
	return m.Starts[len(m.Starts)-1].Start
}

// RolledBack tells whether a mark that a node shows proves that the ledger lost
// a part of its history, and says why: its start is not in the ledger's list,
// or its revision lies past that start's last. rev is the ledger's revision.
//
// A mark of an older generation proves nothing new, unless its term is above
// the present one, so that epochs of the lost history would be above ours.
func (m Meta) RolledBack(rev uint64, shown placement.Mark) (why string, yes bool) {
	if shown.Start == 0 || len(m.Starts) == 0 {
		return "", false
	}
	if shown.Gen > m.Gen {
		return fmt.Sprintf("generation %d was shown, this ledger has %d", shown.Gen, m.Gen), true
	}
	if shown.Gen < m.Gen && shown.Start.Term() <= m.Start().Term() {
		return "", false
	}
	for i, s := range m.Starts {
		if s.Start != shown.Start {
			continue
		}
		last := rev
		if i+1 < len(m.Starts) {
			last = m.Starts[i+1].First - 1
		}
		if shown.Rev > last {
			return fmt.Sprintf("revision %d of start %x was shown, this ledger ended that start at %d", shown.Rev, uint64(s.Start), last), true
		}
		return "", false
	}
	if shown.Start.Term() < m.Starts[0].Start.Term() {
		return "", false
	}
	return fmt.Sprintf("start %x was shown, which this ledger never made", uint64(shown.Start)), true
}
