package sim

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/internal/placement"
	"longshore/retryq"
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
