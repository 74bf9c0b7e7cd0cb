package sim

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/memstore"
	"longshore/retryq/rule"
)

// committed takes in what the ledger has made durable.
func (w *world) committed(t retryq.Txn, rev uint64) {
	w.judge.rev = rev
	for _, p := range t.Put {
		if strings.HasPrefix(p.Key, "e/") { // numbered as the scheduler has it
			w.e.note("log", p.Value)
			continue
		}
		w.e.note("put "+p.Key, p.Value)
		switch {
		case strings.HasPrefix(p.Key, "p/"):
			w.judge.recorded(decode[rule.Record](p.Value))
		case strings.HasPrefix(p.Key, "t/"):
			w.judge.buried(decode[rule.Tomb](p.Value))
		case strings.HasPrefix(p.Key, "n/"):
			w.judge.noded(decode[rule.Node](p.Value))
		case strings.HasPrefix(p.Key, "m/"):
			w.judge.began(decode[rule.Meta](p.Value))
		}
	}
	for _, key := range t.Delete {
		w.e.note("delete " + key)
		if rest, ok := strings.CutPrefix(key, "p/"); ok {
			life, replica, _ := strings.Cut(rest, "/")
			w.judge.deleted(placement.Replica(replica).Placement(placement.Life(life)))
		}
	}
}

// rolledBack forgets the history that was lost, but for what was bound in it.
func (j *judge) rolledBack(s *memstore.Store) {
	for key := range j.wrong {
		j.forgiven[key.boundKey] = true
	}
	j.recs, j.removed, j.slots = map[placement.ID]*known{}, map[placement.ID]bool{}, map[string]map[placement.ID]bool{}
	j.wrong, j.calm = map[copyKey]*wrong{}, true
	defer func() { j.calm = false }()
	err := s.Scan(context.Background(), "", func(item retryq.Item) error {
		switch {
		case strings.HasPrefix(item.Key, "p/"):
			j.recorded(decode[rule.Record](item.Value))
		case strings.HasPrefix(item.Key, "t/"):
			j.buried(decode[rule.Tomb](item.Value))
		case strings.HasPrefix(item.Key, "n/"):
			j.noded(decode[rule.Node](item.Value))
		case strings.HasPrefix(item.Key, "m/"):
			j.meta = decode[rule.Meta](item.Value)
		}
		return nil
	})
	if err != nil {
		j.say("the copy of the ledger cannot be read: %v", err)
	}
	for _, key := range sortedRuns(j.runs) {
		j.look(key)
	}
}

// decode reads a record as the ledger wrote it.
func decode[T any](b []byte) T {
	var v T
	dec := msgpack.NewDecoder(bytes.NewReader(b))
	dec.SetCustomStructTag("json")
	if err := dec.Decode(&v); err != nil {
		panic(fmt.Sprintf("sim: the ledger wrote what cannot be read: %v", err))
	}
	return v
}

// sortedRuns are all copies that run.
func sortedRuns(runs map[boundKey][]copyKey) []copyKey {
	var all []copyKey
	for _, list := range runs {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b copyKey) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.node.id, b.node.id))
	})
	return all
}
