package rule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"longshore/internal/placement"
)

// Kept is what the log compares of a placement's durable record.
type Kept struct {
	State placement.State
	Epoch placement.Epoch
	Bound placement.Holder
	Last  placement.Holder
	Why   string
}

// Keep is what the log compares of r.
func Keep(r Record) Kept {
	k := Kept{State: r.State, Epoch: r.Epoch, Why: r.Why}
	if r.Bound != nil {
		k.Bound = *r.Bound
	}
	if r.Last != nil {
		k.Last = *r.Last
	}
	return k
}

// Transition is the line of the log about a record that becomes r, or, gone,
// its tombstone; not ok if nothing that the log is about differs. why is the
// change's own reason, if it has one.
func Transition(old Kept, r Record, gone bool, why string) (t placement.Transition, ok bool) {
	now := Keep(r)
	same := old.State == now.State && old.Epoch == now.Epoch && old.Bound.Node == now.Bound.Node && old.Bound.Epoch == now.Bound.Epoch &&
		old.Why == now.Why && (old.Last.Node == "" || now.Last.Node != "")
	if same && !gone {
		return t, false
	}
	t = placement.Transition{ID: r.ID, From: old.State, To: r.State, Epoch: r.Epoch, Gone: gone, Why: why}
	switch {
	case now.Bound.Node != "":
		t.Node, t.Epoch = now.Bound.Node, now.Bound.Epoch
	case old.Bound.Node != "":
		t.Node = old.Bound.Node
	case old.Last.Node != "" && now.Last.Node == "":
		t.Node = old.Last.Node
	}
	if t.Why == "" || r.Why != "" && !r.Live() && r.State != placement.Pending {
		t.Why = r.Why
	}
	if t.Why == "" {
		t.Why = plainly(old, now)
	}
	return t, true
}

// plainly says what happened where nobody gave a reason.
func plainly(old, now Kept) string {
	switch {
	case old.State == "":
		return "begun"
	case now.Bound.Node != "" && old.Bound.Node == "" && now.Bound.Epoch != old.Epoch:
		return "adopted: it was given up and is there"
	case now.Bound.Node != "" && old.Bound.Node == "":
		return "bound"
	case old.State == placement.Bound && now.State == placement.Running:
		return "seen running"
	case old.Last.Node != "" && now.Last.Node == "" && old.State == now.State && now.Bound.Node == "":
		return "condemned: its last copy is not adopted any more"
	}
	return ""
}

// AppLine is the line of the log about an app's wish.
func AppLine(a App) placement.Transition {
	t := placement.Transition{App: a.Owner + "/" + a.Name, Why: fmt.Sprintf("wish %d: %d services", a.Revision, len(a.Wish.Services))}
	if a.Removed {
		t.Why = fmt.Sprintf("wish %d: removed", a.Revision)
	}
	return t
}

// NodeLine is the line of the log about a node; not ok if nothing that people
// care for differs.
func NodeLine(old, n Node) (t placement.Transition, ok bool) {
	var what []string
	say := func(differs bool, format string, args ...any) {
		if differs {
			what = append(what, fmt.Sprintf(format, args...))
		}
	}
	say(n.Session != old.Session, "agentd registered, session %d", n.Session)
	say(n.Link != old.Link, "hostinfod linked, link %d", n.Link)
	say(n.Draining && !old.Draining, "draining")
	say(!n.Draining && old.Draining, "drains no longer")
	say(n.GivenUp && !old.GivenUp, "given up")
	say(!n.GivenUp && old.GivenUp, "taken back")
	say(n.Address != old.Address && old.Address != "", "address %s", n.Address)
	say(!maps.Equal(n.Labels, old.Labels) && len(n.Labels)+len(old.Labels) > 0, "labels %s", pairs(n.Labels))
	say(!maps.Equal(n.Roots, old.Roots), "data-roots %s", pairs(n.Roots))
	return placement.Transition{Node: n.Node, Why: strings.Join(what, ", ")}, len(what) > 0
}

// pairs is "a=1 b=2".
func pairs(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, " ")
}

// LedgerLine is the line of the log about the ledger itself.
func LedgerLine(old, m Meta) placement.Transition {
	t := placement.Transition{Why: "changed"}
	switch {
	case m.Gen != old.Gen && old.Gen != 0:
		t.Why = fmt.Sprintf("start %x begins generation %d: all is held until the nodes have spoken", uint64(m.Start()), m.Gen)
	case m.Start() != old.Start():
		t.Why = fmt.Sprintf("start %x of generation %d", uint64(m.Start()), m.Gen)
	case old.Hold && !m.Hold:
		t.Why = "the hold is over"
	}
	return t
}
