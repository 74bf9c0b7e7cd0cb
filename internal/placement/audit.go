package placement

import "context"

// Transition is one line of the ledger's log: what changed, who did it and why.
// It is about a placement (ID), an app (App), a node (Node without ID) or the
// ledger itself (none of them).
type Transition struct {
	Rev   uint64 `json:"rev"`   // the ledger's revision after it; several have the same if they were one change
	Start Start  `json:"start"` // of the ledger that made it
	At    Millis `json:"at"`    // since that start began
	// Ago is how long ago it was when it was sent; absent if it was before the
	// ledger's present start, since nobody measured the time between.
	Ago *Millis `json:"ago,omitempty"`

	ID    ID     `json:"id,omitempty"`
	App   string `json:"app,omitempty"` // OWNER/APP
	Node  NodeID `json:"node,omitempty"`
	Epoch Epoch  `json:"epoch,omitempty"` // the bound one, or that of the next offer
	From  State  `json:"from,omitempty"`  // "": there was none
	To    State  `json:"to,omitempty"`
	Gone  bool   `json:"gone,omitempty"` // proven gone: only a tombstone is left

	By  string `json:"by"`            // role/name, or the part of the ledger: sweeper, rollout, ledger
	Why string `json:"why,omitempty"` // one line
}

// LogFilter chooses lines of the ledger's log.
type LogFilter struct {
	Filter
	Since  uint64 `json:"since,omitempty"`  // only later revisions
	Follow bool   `json:"follow,omitempty"` // go on with what comes
}

// Chooses tells whether the filter chooses the line. A line about a node, or
// about the ledger, is chosen only if no owner, app or replica is named.
func (f LogFilter) Chooses(t Transition) bool {
	switch {
	case t.Rev <= f.Since, f.Node != "" && f.Node != t.Node:
		return false
	case t.ID != "":
		r := t.ID.Replica()
		return (f.Owner == "" || f.Owner == r.Owner()) && (f.App == "" || f.App == r.App()) &&
			(f.Service == "" || f.Service == r.Service()) && (f.Replica == "" || f.Replica == r)
	case f.Service != "" || f.Replica != "":
		return false
	case t.App != "":
		r := Replica(t.App)
		return (f.Owner == "" || f.Owner == r.Owner()) && (f.App == "" || f.App == r.App())
	}
	return f.Owner == "" && f.App == ""
}

type actor struct{}

// ActAs lets what is done with the context be written down as done by who:
// role/name, or a part of the broadcaster.
func ActAs(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actor{}, who)
}

// Actor is who acts with the context; "" if nobody said.
func Actor(ctx context.Context) string {
	who, _ := ctx.Value(actor{}).(string)
	return who
}
