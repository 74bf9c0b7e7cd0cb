package retryq

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"longshore/internal/placement"
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

// holdOver tells whether the hold can end now.
func (m *memory) holdOver(now time.Time) bool {
	return m.hold.on && (!now.Before(m.hold.until) || len(m.missing()) == 0)
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
	if m.hold.all {
		what = "after the ledger was rolled back"
	}
	return fmt.Sprintf("%s: waits for a word of %d nodes (%s), %s at most", what, len(missing), strings.Join(names, ", "), time.Until(m.hold.until).Round(time.Second))
}
