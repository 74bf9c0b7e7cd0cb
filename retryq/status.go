package retryq

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// status is a placement as people see it. The lock is held.
func (l *Ledger) status(e *entry) placement.Status {
	now := time.Now()
	r := e.rec
	s := placement.Status{
		Replica: r.ID.Replica(), ID: r.ID, State: r.State, Wanted: l.mem.isWanted(r.ID),
		Epoch: r.Epoch, Digest: r.Digest, Image: r.Request.Image, Ports: r.Request.Ports, Needs: r.Request.Needs, Pinned: r.Request.Node != "",
		HAToken: r.Request.HAToken, HADomain: r.Request.HADomain,
		Since: millis(now.Sub(e.since)), Phase: e.phase, Why: cmp.Or(r.Why, e.why), Tries: e.tries,
	}
	if r.Bound != nil {
		s.Node, s.Epoch = r.Bound.Node, r.Bound.Epoch
		s.Address = l.mem.node(r.Bound.Node).rec.Address
	}
	if r.Exit != nil {
		s.ExitCode = *r.Exit
	}
	if r.State != placement.Pending {
		return s
	}
	if w := l.mem.queue.items[r.ID]; w != nil && w.place == lined && w.due.After(now) {
		s.NextTry = millis(w.due.Sub(now))
	}
	if s.Why == "" {
		s.Why = l.whyWaiting(e)
	}
	if home := l.home(e); home != "" && s.Why != "" {
		s.Why += "; it waits for node " + string(home) + ", where it was: schedctl retry lets it start elsewhere"
	}
	return s
}

// whyWaiting says why a placement is not even offered, if so.
func (l *Ledger) whyWaiting(e *entry) string {
	m := &l.mem
	r := m.replicas[e.rec.ID.Replica()]
	switch {
	case r != nil && r.rec.Blocked(e.rec.ID.Life()):
		return "waits until the copy before it is gone"
	case m.hold.holds(e.rec.ID):
		return "the ledger waits for a word of its nodes after its start"
	}
	w := m.queue.items[e.rec.ID]
	if w == nil || w.place != lined || w.of.head == w {
		return ""
	}
	ahead := w.of.head
	if ahead == nil {
		ahead = w.of.hand
	}
	if ahead == nil || ahead == w {
		return ""
	}
	why := fmt.Sprintf("waits behind %s, which needs the same", ahead.id.Replica())
	if o := m.places[ahead.id]; o != nil && o.why != "" {
		why += ": " + o.why
	}
	return why
}

func millis(d time.Duration) placement.Millis { return placement.Millis(d / time.Millisecond) }

// matches tells whether the filter chooses the placement, All apart.
func matches(f placement.Filter, s placement.Status) bool {
	return (f.Owner == "" || f.Owner == s.Replica.Owner()) &&
		(f.App == "" || f.App == s.Replica.App()) &&
		(f.Service == "" || f.Service == s.Replica.Service()) &&
		(f.Replica == "" || f.Replica == s.Replica) &&
		(f.Node == "" || f.Node == s.Node)
}

// statuses collects what the filter chooses, in no order. The lock is held.
func (l *Ledger) statuses(f placement.Filter) []placement.Status {
	var list []placement.Status
	for _, e := range l.mem.places {
		if s := l.status(e); matches(f, s) && (s.Wanted || f.All) {
			list = append(list, s)
		}
	}
	return list
}

func sortStatuses(list []placement.Status) {
	slices.SortFunc(list, func(a, b placement.Status) int {
		x, y := a.Replica, b.Replica
		return cmp.Or(
			cmp.Compare(x.Owner(), y.Owner()), cmp.Compare(x.App(), y.App()), cmp.Compare(x.Service(), y.Service()),
			cmp.Compare(x.Number(), y.Number()), cmp.Compare(a.ID, b.ID))
	})
}

// Statuses lists the placements that the filter chooses, by replica and life:
// the wanted lives, and with All also those that end or are replaced.
func (l *Ledger) Statuses(_ context.Context, f placement.Filter) ([]placement.Status, error) {
	l.mu.Lock()
	list := l.statuses(f)
	l.mu.Unlock()
	sortStatuses(list)
	return list, nil
}

// Explain is everything about a replica's wanted life, or its newest one that
// is not gone: with the refusals of the last chain of rounds. NotFound if there
// is none.
func (l *Ledger) Explain(_ context.Context, r placement.Replica) (placement.Status, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.newest(l.mem.replicas[r])
	if e == nil {
		return placement.Status{}, l.mem.noReplica(r)
	}
	s := l.status(e)
	s.Trace = e.trace.last
	s.Refusals = slices.Clone(e.sum)
	if len(s.Refusals) == 0 {
		s.Refusals = l.refusalsAhead(e)
	}
	return s, nil
}

// refusalsAhead are those of the placement with equal needs that is offered in
// its place.
func (l *Ledger) refusalsAhead(e *entry) []placement.Refusal {
	w := l.mem.queue.items[e.rec.ID]
	if w == nil || w.place != lined || w.of.head == nil {
		return nil
	}
	if ahead := l.mem.places[w.of.head.id]; ahead != nil {
		return slices.Clone(ahead.sum)
	}
	return nil
}

func (l *Ledger) newest(r *replicaEntry) *entry {
	if r == nil {
		return nil
	}
	if e := l.mem.wanted(r); e != nil {
		return e
	}
	return l.mem.places[r.rec.Replica.Placement(lastLife(r.rec))]
}

func lastLife(r rule.Replica) placement.Life {
	if len(r.Lives) == 0 {
		return ""
	}
	return r.Lives[len(r.Lives)-1]
}
