package retryq

import (
	"context"
	"strings"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// refresh reads again what a conflict was about.
func (l *Ledger) refresh(ctx context.Context, expect []Expect) error {
	keys := make([]string, len(expect))
	for i, e := range expect {
		keys[i] = e.Key
	}
	asOf, err := l.store.Revision(ctx)
	if err != nil {
		return unavailable(err)
	}
	items, err := l.store.Get(ctx, keys...)
	if err != nil {
		return unavailable(err)
	}
	for _, item := range items {
		if item.Rev == 0 {
			l.forget(item.Key, asOf)
			continue
		}
		if err := l.refreshItem(item); err != nil {
			return err
		}
	}
	return nil
}

// forget takes out of memory what the store did not have as of a revision.
func (l *Ledger) forget(key string, asOf uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.mem
	if name, ok := strings.CutPrefix(key, replicasPrefix); ok {
		if r := m.replicas[placement.Replica(name)]; r != nil && r.rev <= asOf {
			l.applyReplica(rule.Replica{Replica: r.rec.Replica}, asOf+1)
		}
	}
	if rest, ok := strings.CutPrefix(key, placementsPrefix); ok {
		life, name, _ := strings.Cut(rest, "/")
		if e := m.places[placement.Replica(name).Placement(placement.Life(life))]; e != nil && e.rev <= asOf {
			rec := e.rec
			rec.State, rec.Bound = placement.Cancelled, nil
			l.applyBuried(rec, asOf+1, time.Now())
		}
	}
}

// refreshItem puts one item of the store into memory. The ledger's own record
// is left to whoever begins a start or ends a hold: more than the record changes
// with it.
func (l *Ledger) refreshItem(item Item) error {
	c := blankChange()
	var err error
	switch {
	case strings.HasPrefix(item.Key, placementsPrefix):
		var rec rule.Record
		rec, err = decode(item, func(r rule.Record) int { return r.V })
		c.records = append(c.records, rec)
	case strings.HasPrefix(item.Key, replicasPrefix):
		var rec rule.Replica
		rec, err = decode(item, func(r rule.Replica) int { return r.V })
		c.replicas = append(c.replicas, rec)
	case strings.HasPrefix(item.Key, appsPrefix):
		var rec rule.App
		rec, err = decode(item, func(r rule.App) int { return r.V })
		c.app = &rec
	case strings.HasPrefix(item.Key, nodesPrefix):
		var rec rule.Node
		rec, err = decode(item, func(r rule.Node) int { return r.V })
		c.nodes = append(c.nodes, rec)
	}
	if err != nil {
		return err
	}
	l.apply(c, item.Rev)
	return nil
}
