package claim

import (
	"context"
	"sync"
	"time"

	"longshore/internal/placement"
)

// Table keeps claims in the memory of one process, for a cluster that runs in
// one and finds no redis-server. It forgets everything when the process ends,
// as Redis may at any time.
type Table struct {
	ttl time.Duration

	mu    sync.Mutex
	held  map[placement.ID]record
	swept time.Time
}

type record struct {
	epoch placement.Epoch
	node  placement.NodeID
	until time.Time
}

// NewTable makes an empty table whose claims last ttl; 0 means [DefaultTTL].
func NewTable(ttl time.Duration) (*Table, error) {
	ttl, err := checkTTL(ttl)
	if err != nil {
		return nil, err
	}
	return &Table{ttl: ttl, held: map[placement.ID]record{}, swept: time.Now()}, nil
}

// Acquire does what [Redis.Acquire] does; it fails only on words that are not
// valid, and when ctx has ended.
func (t *Table) Acquire(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) (holder placement.NodeID, ok bool, err error) {
	if err := check(id, e, node); err != nil {
		return "", false, err
	}
	if err := ctx.Err(); err != nil {
		return "", false, failed(ctx, "acquire the claim", id, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.sweep(now)
	if r, found := t.held[id]; found && r.until.After(now) && r.refuses(e, node) {
		return r.node, false, nil
	}
	t.held[id] = record{epoch: e, node: node, until: now.Add(t.ttl)}
	return node, true, nil
}

// refuses is the one rule of a claim that is in force.
func (r record) refuses(e placement.Epoch, node placement.NodeID) bool {
	return r.epoch > e || r.epoch == e && r.node != node
}

// Release does what [Redis.Release] does.
func (t *Table) Release(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) error {
	if err := check(id, e, node); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return failed(ctx, "release the claim", id, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, found := t.held[id]; found && r.epoch == e && r.node == node {
		delete(t.held, id)
	}
	return nil
}

// sweep drops what expired, at most once per time to live, so that a claim
// nobody asks for again does not stay for ever.
func (t *Table) sweep(now time.Time) {
	if now.Sub(t.swept) < t.ttl {
		return
	}
	t.swept = now
	for id, r := range t.held {
		if !r.until.After(now) {
			delete(t.held, id)
		}
	}
}
