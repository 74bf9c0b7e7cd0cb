package retryq

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// hold says what the ledger may not do yet after its start. Until every known
// node has registered with this start and then sent a complete listing under
// the session given there, or the grace is over: nothing is absent or lost,
// nothing is stopped or condemned, and what was submitted before this start is
// neither offered nor bound; what may be adopted is. After a change of the
// generation (all) it also holds new submits, and adopts nothing before its
// end.
type hold struct {
	on    bool
	all   bool
	start placement.Start
	until time.Time
}

// holds tells whether the placement may be neither offered nor bound.
func (h hold) holds(id placement.ID) bool {
	return h.on && (h.all || placement.Epoch(id.Life()).Start() != h.start)
}

// missing lists the known nodes that the hold waits for.
func (m *memory) missing() []placement.NodeID {
	var missing []placement.NodeID
	for id, n := range m.nodes {
		if n.rec.Known() && (!n.registered || !n.listed) {
			missing = append(missing, id)
		}
	}
	slices.SortFunc(missing, func(a, b placement.NodeID) int { return cmp.Compare(a, b) })
	return missing
}

// holdOver tells whether the hold can end now: its time has passed, or every
// node has spoken and nothing is left to fetch.
func (l *Ledger) holdOver(now time.Time) bool {
	m := &l.mem
	if !m.hold.on {
		return false
	}
	known := m.known()
	if m.meta.Expect != 0 && known == 0 {
		return false // a ledger made anew has nothing but what they say
	}
	if !now.Before(m.hold.until) {
		return true
	}
	told := m.meta.Expect == 0 || m.meta.Expect != rule.ExpectAny && known >= m.meta.Expect
	return told && len(m.missing()) == 0 && len(l.toFetch()) == 0
}

// known counts the nodes that registered and are not given up.
func (m *memory) known() int {
	known := 0
	for _, n := range m.nodes {
		if n.rec.Known() {
			known++
		}
	}
	return known
}

// restoring tells whether the ledger holds all, since it does not know yet what
// its nodes run.
func (l *Ledger) restoring() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mem.hold.on && l.mem.hold.all
}

// notYet refuses what can be wished only of what is known, as long as the
// ledger does not know yet what its nodes run.
func (l *Ledger) notYet() error {
	if !l.restoring() {
		return nil
	}
	return &placement.Error{Kind: placement.KindUnavailable, What: "the ledger does not know yet what its nodes run", Why: l.Holding(), Next: "try again when it does"}
}

// Holding says why the ledger still holds back after its start, and for how
// long at most; "" if it does not.
func (l *Ledger) Holding() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.mem
	if !m.hold.on {
		return ""
	}
	missing := m.missing()
	names := make([]string, 0, 3)
	for _, n := range missing[:min(3, len(missing))] {
		names = append(names, string(n))
	}
	what := "after a start"
	switch {
	case m.meta.Expect != 0:
		what = "after the ledger was lost"
	case m.hold.all:
		what = "after the ledger was rolled back"
	}
	if n := len(l.toFetch()); n > 0 {
		what += fmt.Sprintf(": fetches %d requests", n)
	}
	return fmt.Sprintf("%s: waits for a word of %d nodes (%s), %s at most", what, len(missing), strings.Join(names, ", "), time.Until(m.hold.until).Round(time.Second))
}
