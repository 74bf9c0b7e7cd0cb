package sim

import (
	"fmt"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// repair is how long a copy that is not bound may run on once its node is in
// contact: 2 x (report + RPC) + stop grace, of design.md.
const repair = 25 * time.Second

// judge knows what the ledger has committed and what the daemons run, and says
// what breaks a promise. It is the deliveries'.
type judge struct {
	w    *world
	rev  uint64
	meta rule.Meta

	recs    map[placement.ID]*known
	bound   map[boundKey]placement.NodeID // whoever was bound, in whatever history
	removed map[placement.ID]bool         // in the present history
	slots   map[string]map[placement.ID]bool
	drained map[placement.NodeID]bool
	wrong   map[copyKey]*wrong // running, and not bound
	runs    map[boundKey][]copyKey

	violations []string
	forgiven   map[boundKey]bool // not to run by a history that was lost: its orders may still come
	calm       bool              // what is taken in is no news
}

type boundKey struct {
	id    placement.ID
	epoch placement.Epoch
}

type copyKey struct {
	node *node
	boundKey
}

// known is a placement as the ledger has it.
type known struct {
	rec  rule.Record
	tomb bool
}

// wrong is a running copy that is not bound.
type wrong struct {
	since time.Duration
	told  bool
}

func newJudge(w *world) *judge {
	return &judge{
		w: w, recs: map[placement.ID]*known{}, bound: map[boundKey]placement.NodeID{}, removed: map[placement.ID]bool{},
		slots: map[string]map[placement.ID]bool{}, drained: map[placement.NodeID]bool{},
		wrong: map[copyKey]*wrong{}, runs: map[boundKey][]copyKey{}, forgiven: map[boundKey]bool{},
	}
}

// say notes a violation.
func (j *judge) say(format string, args ...any) {
	v := stamp(j.w.e.now()) + "  " + fmt.Sprintf(format, args...)
	j.violations = append(j.violations, v)
	j.w.tell("VIOLATION  %s", v)
	if len(j.violations) == 1 && j.w.cfg.First {
		close(j.w.found)
	}
}

// recorded takes in what a placement's record is now.
func (j *judge) recorded(rec rule.Record) {
	k := j.recs[rec.ID]
	if k == nil {
		k = &known{}
		j.recs[rec.ID] = k
	}
	old := k.rec
	k.rec, k.tomb = rec, false
	if rec.Epoch < old.Epoch {
		j.say("epoch of %s fell from %s to %s", rec.ID, old.Epoch, rec.Epoch)
	}
	if j.removed[rec.ID] && rec.State != placement.Cancelled {
		j.say("%s was removed and is %s again", rec.ID, rec.State)
	}
	if rec.State == placement.Cancelled {
		j.removed[rec.ID] = true
	}
	j.binding(old, rec)
	if old.Live() && rec.State == placement.Pending && rec.Last == nil && j.runsAt(old) && !j.runsLater(old) {
		j.say("%s is given up as gone, and runs on %s at %s", rec.ID, old.Bound.Node, old.Bound.Epoch)
	}
	j.slot(old, rec)
	if j.calm {
		return
	}
	j.fire(old, rec)
	if old.State != rec.State || old.Epoch != rec.Epoch {
		j.w.story(rec.ID, "%s, epoch %s%s", rec.State.Word(), short(rec.Epoch), where(rec))
	}
	j.again(rec.ID)
}

func where(rec rule.Record) string {
	s := ""
	if rec.Bound != nil {
		s += fmt.Sprintf(", bound to %s at %s", rec.Bound.Node, short(rec.Bound.Epoch))
	}
	if rec.Last != nil && rec.Bound == nil {
		s += fmt.Sprintf(", last %s at %s", rec.Last.Node, short(rec.Last.Epoch))
	}
	if rec.Why != "" {
		s += ": " + rec.Why
	}
	return s
}

// binding checks a change of who may run the placement.
func (j *judge) binding(old, rec rule.Record) {
	if !rec.Live() {
		return
	}
	key := boundKey{rec.ID, rec.Bound.Epoch}
	if other, ok := j.bound[key]; ok && other != rec.Bound.Node {
		j.say("%s: epoch %s is bound to %s and was bound to %s", rec.ID, rec.Bound.Epoch, rec.Bound.Node, other)
	}
	j.bound[key] = rec.Bound.Node
	if old.Live() && !old.Bound.Is(rec.Bound.Node, rec.Bound.Epoch) {
		j.say("%s went from %s %s to %s %s without being lost", rec.ID, old.Bound.Node, old.Bound.Epoch, rec.Bound.Node, rec.Bound.Epoch)
	}
}

// runsAt tells whether the bound copy of the record runs.
func (j *judge) runsAt(rec rule.Record) bool {
	n := j.w.find(rec.Bound.Node)
	return n != nil && slices.Contains(j.runs[boundKey{rec.ID, rec.Bound.Epoch}], copyKey{n, boundKey{rec.ID, rec.Bound.Epoch}})
}

// runsLater tells whether a copy of a later epoch runs: after a rollback that
// one is kept.
func (j *judge) runsLater(rec rule.Record) bool {
	for key := range j.runs {
		if key.id == rec.ID && key.epoch > rec.Bound.Epoch {
			return true
		}
	}
	return false
}

// slot checks that one replica at most holds a token in a domain.
func (j *judge) slot(old, rec rule.Record) {
	if old.Slot != "" && old.Slot != rec.Slot {
		delete(j.slots[old.Slot], rec.ID)
	}
	if rec.Live() && rec.Request.HAToken != "" && rec.Slot == "" {
		j.say("%s is bound without the slot of its token %s", rec.ID, rec.Request.HAToken)
	}
	if rec.Slot == "" {
		return
	}
	held := j.slots[rec.Slot]
	if held == nil {
		held = map[placement.ID]bool{}
		j.slots[rec.Slot] = held
	}
	held[rec.ID] = true
	for other := range held {
		if other.Replica() != rec.ID.Replica() {
			j.say("%s and %s hold the slot %s", rec.ID, other, rec.Slot)
		}
	}
}

// buried takes in a tombstone.
func (j *judge) buried(t rule.Tomb) {
	k := j.recs[t.ID]
	if k == nil {
		k = &known{}
		j.recs[t.ID] = k
	}
	if !k.tomb {
		j.w.fired["buried"]++
	}
	if k.rec.Slot != "" {
		delete(j.slots[k.rec.Slot], t.ID)
	}
	k.tomb, k.rec = true, rule.Record{ID: t.ID, State: t.State, Epoch: t.Epoch}
	j.removed[t.ID] = true
	j.w.story(t.ID, "proven gone")
	j.again(t.ID)
}

// deleted checks that no record vanishes without a tombstone.
func (j *judge) deleted(id placement.ID) {
	if k := j.recs[id]; k == nil || !k.tomb {
		j.say("the record of %s vanished", id)
	}
}

func (j *judge) noded(n rule.Node) { j.drained[n.Node] = n.Draining || n.GivenUp }

// began takes in the ledger's own record.
func (j *judge) began(m rule.Meta) {
	switch {
	case m.Gen > j.meta.Gen && j.meta.Gen > 0:
		j.w.fired["new generation"]++
		j.w.tell("the ledger takes generation %d", m.Gen)
	case len(m.Starts) > len(j.meta.Starts):
		j.w.tell("the ledger begins start %d", m.Start().Term())
	}
	j.meta = m
}

// created checks that no node promises more than it has.
func (j *judge) created(n *node, _ *container) {
	var sum placement.Resources
	for _, c := range n.docker.all() {
		sum = sum.Plus(c.Needs)
	}
	if !n.capacity.Fits(sum) {
		j.say("%s has %v and holds copies that need %v", n.id, n.capacity, sum)
	}
}

// started checks a copy that Docker was told to start.
func (j *judge) started(n *node, c *container) {
	key := boundKey{c.ID, c.Epoch}
	if at, ok := j.bound[key]; !ok || at != n.id {
		j.say("%s starts %s at epoch %s, which was never bound to it", n.id, c.ID, c.Epoch)
	}
}

// stopping checks that no copy is stopped that may run.
func (j *judge) stopping(n *node, c *container) {
	k := j.recs[c.ID]
	if j.forgiven[boundKey{c.ID, c.Epoch}] {
		return
	}
	if c.State == placement.CopyRunning && k != nil && k.rec.Live() && k.rec.Bound.Is(n.id, c.Epoch) && !j.drained[n.id] {
		j.say("%s stops %s at epoch %s, which is bound to it", n.id, c.ID, c.Epoch)
	}
}

// moved takes in what a container does now.
func (j *judge) moved(n *node, c *container) {
	key := copyKey{n, boundKey{c.ID, c.Epoch}}
	list := slices.DeleteFunc(j.runs[key.boundKey], func(k copyKey) bool { return k == key })
	if c.State == placement.CopyRunning {
		if len(list) > 0 {
			j.say("%s runs twice in epoch %s: on %s and %s", c.ID, c.Epoch, list[0].node.id, n.id)
		}
		list = append(list, key)
	}
	if len(list) == 0 {
		delete(j.runs, key.boundKey)
		delete(j.wrong, key)
	} else {
		j.runs[key.boundKey] = list
	}
	j.look(key)
}

// again looks at all copies of a placement that run.
func (j *judge) again(id placement.ID) {
	for _, n := range j.w.nodes {
		if m := n.docker.daemon(id.Owner()); m != nil && m.copies[id] != nil {
			j.look(copyKey{n, boundKey{id, m.copies[id].Epoch}})
		}
	}
}

// look decides whether a copy runs that should not.
func (j *judge) look(key copyKey) {
	k := j.recs[key.id]
	runs := slices.Contains(j.runs[key.boundKey], key)
	if !runs || k == nil || k.rec.Live() && k.rec.Bound.Is(key.node.id, key.epoch) {
		delete(j.wrong, key)
		return
	}
	if j.wrong[key] == nil {
		j.wrong[key] = &wrong{since: j.w.e.now()}
	}
}

// overdue says which copies run on though nothing is in the way of stopping
// them.
func (j *judge) overdue() {
	now := j.w.e.now()
	for _, key := range j.sortedWrong() {
		bad := j.wrong[key]
		since, ok := j.w.contact(key.node)
		if !ok || bad.told {
			continue
		}
		if over := now - max(since, bad.since); over > repair {
			bad.told = true
			j.say("%s runs %s at epoch %s, unbound for %v and in contact for %v (record: %s%s)", key.node.id, key.id, key.epoch,
				now-bad.since, now-since, j.recs[key.id].rec.State, where(j.recs[key.id].rec))
		}
	}
}

func (j *judge) sortedWrong() []copyKey {
	keys := make([]copyKey, 0, len(j.wrong))
	for k := range j.wrong {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b copyKey) int {
		if a.id != b.id {
			if a.id < b.id {
				return -1
			}
			return 1
		}
		if a.node.id < b.node.id {
			return -1
		}
		return 1
	})
	return keys
}
