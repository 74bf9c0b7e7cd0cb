package retryq_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/memstore"
)

// hanging is a store whose writes can be made to hang, and with them whoever
// waits for one: as if the process were paused.
type hanging struct {
	retryq.Store
	mu   sync.Mutex
	gate chan struct{} // closed when writes go on; nil: they do
}

func (h *hanging) hang() (release func()) {
	gate := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = gate
	return func() { close(gate) }
}

func (h *hanging) Commit(ctx context.Context, t retryq.Txn) (uint64, error) {
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return h.Store.Commit(ctx, t)
}

// TestPausedLedgerBlamesNobody: what was bound before a pause of the ledger
// itself has its whole start timeout again after it.
func TestPausedLedgerBlamesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{Store: memstore.New()}
		w := begin(t, store)
		n1 := w.node("n1")
		w.submit(app(2))
		w.place(n1) // web/1 runs, which is written behind: that is what hangs
		try := w.mustNext()
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		n1.bind(try)
		name := try.ID.Replica()
		release := store.hang()
		time.Sleep(90 * time.Second)
		release()
		time.Sleep(30 * time.Second)
		w.expect(name, placement.Bound, "n1")
		n1.list()
		w.expect(name, placement.Running, "n1")
	})
}
