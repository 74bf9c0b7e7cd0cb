package retryq

import (
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// apply makes a durable change true in memory, in one step, and tells it to
// those who watch. The lock is held.
func (l *Ledger) apply(c *change, rev uint64) {
	now := time.Now()
	m := &l.mem
	m.rev = max(m.rev, rev)
	if c.meta != nil {
		if c.meta.Start() != m.meta.Start() {
			m.audit.began = now
		}
		m.meta, m.metaRev = *c.meta, rev
	}
	m.applyLogged(c.logged, rev)
	for _, n := range c.nodes {
		l.applyNode(n, rev)
	}
	if c.app != nil {
		l.applyApp(*c.app, rev)
	}
	for _, r := range c.replicas {
		l.applyReplica(r, rev)
	}
	for _, r := range c.records {
		l.applyRecord(r, rev, now, c.delay[r.ID])
	}
	l.follow(c)
	for _, r := range c.buried {
		l.applyBuried(r, rev, now)
	}
	for _, r := range c.replicas {
		l.unblock(r.Replica, now)
	}
	for _, s := range c.slots {
		if s.freed {
			l.wakeToken(s.token, now)
		}
	}
	if c.after != nil {
		c.after(m, now)
	}
	l.wake()
}

func (l *Ledger) applyNode(rec rule.Node, rev uint64) {
	if n := l.mem.node(rec.Node); n.rev < rev {
		n.rec, n.rev = rec, rev
	}
}

func (l *Ledger) applyApp(rec rule.App, rev uint64) {
	a := l.mem.app(appKey(rec.Owner, rec.Name))
	if a.rev >= rev {
		return
	}
	a.rec, a.rev = rec, rev
	a.digests = digests(rec.Wish)
	l.roll(appKey(rec.Owner, rec.Name), a)
}

// roll asks for a rollout of the app.
func (l *Ledger) roll(key string, a *appEntry) {
	a.settled = false
	l.mem.rolls[key] = true
}

// rollApp asks for a rollout of the placement's app.
func (l *Ledger) rollApp(id placement.ID) {
	key := appKey(id.Owner(), id.Replica().App())
	if a := l.mem.apps[key]; a != nil {
		l.roll(key, a)
	}
}

func (l *Ledger) applyReplica(rec rule.Replica, rev uint64) {
	m := &l.mem
	a := m.app(appKey(rec.Replica.Owner(), rec.Replica.App()))
	r := m.replicas[rec.Replica]
	if r != nil && r.rev >= rev {
		return
	}
	if rec.Empty() {
		delete(m.replicas, rec.Replica)
		delete(a.replicas, rec.Replica)
		return
	}
	m.replicas[rec.Replica] = &replicaEntry{rec: rec, rev: rev}
	a.replicas[rec.Replica] = true
}

// applyRecord makes a placement's record what it is now, with all that follows:
// the index of its node, the queue, its timers, orders and rollouts.
func (l *Ledger) applyRecord(rec rule.Record, rev uint64, now time.Time, delay time.Duration) {
	m := &l.mem
	e := m.places[rec.ID]
	if e == nil {
		e = &entry{since: now}
		m.places[rec.ID] = e
	} else if e.rev >= rev {
		return
	}
	old, since := e.rec, e.since
	e.rec, e.rev, e.kept = rec, rev, rule.Keep(rec)
	delete(m.dirty, rec.ID)
	l.index(e, old)
	if old.State != rec.State {
		e.since = now
	}
	if m.moves(rec) && (old.Bound == nil || old.Bound.Node != rec.Bound.Node) {
		l.rollApp(rec.ID) // adopted on a node that is drained
	}
	switch rec.State {
	case placement.Pending:
		if old.State != rec.State || old.Epoch != rec.Epoch {
			e.waits(now)
			l.enqueue(e, now.Add(delay))
		}
		if old.State == placement.Done && rec.Home != "" {
			l.orderAt(rec.Home, rec.ID, old.Epoch, "it is started again") // the ended one that was kept
		}
	case placement.Bound:
		m.queue.drop(rec.ID, true, now)
		e.starts(now, now.Add(l.cfg.StartTimeout))
	case placement.Running:
		m.queue.drop(rec.ID, true, now)
		l.seen(e, since, now)
		e.runs(now)
	case placement.Done, placement.Dead, placement.Cancelled:
		m.queue.drop(rec.ID, false, now)
		l.callBack(e, old)
		e.ends()
		if rec.Leaving() && (old.State != rec.State || !old.Leaving()) {
			l.orderStop(e)
		}
	}
	if visible(old, rec) {
		l.changed(e, old)
	}
}

// visible tells whether people see a difference between two records.
func visible(a, b rule.Record) bool {
	return a.State != b.State || a.Epoch != b.Epoch || a.Why != b.Why || (a.Bound == nil) != (b.Bound == nil) ||
		a.Bound != nil && (a.Bound.Node != b.Bound.Node || a.Bound.Epoch != b.Bound.Epoch)
}

// changed tells watchers and the rollout of the app.
func (l *Ledger) changed(e *entry, old rule.Record) {
	key := appKey(e.rec.ID.Owner(), e.rec.ID.Replica().App())
	if a := l.mem.apps[key]; a != nil && !a.settled {
		l.mem.rolls[key] = true
	}
	var was placement.NodeID
	if old.Bound != nil {
		was = old.Bound.Node
	}
	l.publish(e, was)
}

// index keeps the nodes' sets of what is bound on them, and the slots' of what
// holds them.
func (l *Ledger) index(e *entry, old rule.Record) {
	if old.Bound != nil && (e.rec.Bound == nil || e.rec.Bound.Node != old.Bound.Node) {
		delete(l.mem.node(old.Bound.Node).bound, e.rec.ID)
	}
	if e.rec.Bound != nil {
		l.mem.node(e.rec.Bound.Node).bound[e.rec.ID] = e
	}
	if old.Slot != "" && old.Slot != e.rec.Slot {
		delete(l.mem.slots[old.Slot], e.rec.ID)
		if len(l.mem.slots[old.Slot]) == 0 {
			delete(l.mem.slots, old.Slot)
		}
	}
	if e.rec.Slot != "" {
		if l.mem.slots[e.rec.Slot] == nil {
			l.mem.slots[e.rec.Slot] = make(map[placement.ID]bool)
		}
		l.mem.slots[e.rec.Slot][e.rec.ID] = true
	}
}

// applyBuried forgets a placement of which only the tombstone is left.
func (l *Ledger) applyBuried(rec rule.Record, rev uint64, now time.Time) {
	e := l.mem.places[rec.ID]
	if e == nil || e.rev >= rev {
		return
	}
	old := e.rec
	e.rec, e.rev, e.phase = rec, rev, "gone"
	if old.State != rec.State {
		e.since = now
	}
	l.index(e, old)
	l.mem.queue.drop(rec.ID, false, now)
	l.callBack(e, old)
	delete(l.mem.places, rec.ID)
	delete(l.mem.dirty, rec.ID)
	l.changed(e, old)
}

// unblock lets the wanted life of a replica wait for a node once no older one
// is in its way.
func (l *Ledger) unblock(name placement.Replica, now time.Time) {
	e := l.mem.wanted(l.mem.replicas[name])
	if e != nil && e.rec.State == placement.Pending && l.mem.queue.items[e.rec.ID] == nil {
		l.enqueue(e, now)
	}
}

func digests(wish placement.App) []string {
	d := make([]string, len(wish.Services))
	for i, s := range wish.Services {
		d[i] = s.Request.Digest()
	}
	return d
}
