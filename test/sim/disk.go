package sim

import (
	"context"
	"time"

	"longshore/retryq"
	"longshore/retryq/memstore"
)

// disk is the ledger's. It is the deliveries', but for the store itself.
type disk struct {
	w     *world
	store *memstore.Store
	saved *memstore.Store // a copy that somebody took

	full bool          // nothing that grows can be written
	slow time.Duration // that a write takes besides, at most
	hung []func()      // writes that a hanging disk has not done yet
	hang bool
}

// file is the disk as one broadcasterd has it open.
type file struct {
	d     *disk
	p     *process
	store *memstore.Store
}

// Get reads.
func (f file) Get(ctx context.Context, keys ...string) ([]retryq.Item, error) {
	if f.p.dead.Load() {
		return nil, retryq.ErrClosed
	}
	return f.store.Get(ctx, keys...)
}

// Scan reads all with the prefix.
func (f file) Scan(ctx context.Context, prefix string, each func(retryq.Item) error) error {
	if f.p.dead.Load() {
		return retryq.ErrClosed
	}
	return f.store.Scan(ctx, prefix, each)
}

// Commit writes. What is under way when the process dies is never done.
func (f file) Commit(ctx context.Context, t retryq.Txn) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	e := f.p.w.e
	what := "commit"
	if len(t.Put) > 0 {
		what += t.Put[0].Key
	}
	rev, err := call(context.WithoutCancel(ctx), f.p, e.between(200*time.Microsecond, time.Millisecond, f.p.name, what), what, func(done func(uint64, error)) {
		write := func() { done(f.write(ctx, t)) }
		switch {
		case f.d.hang:
			f.d.hung = append(f.d.hung, write)
		case f.d.slow > 0:
			e.after(e.between(0, f.d.slow, what, "slow"), fnv(what), write)
		default:
			write()
		}
	})
	if err != nil && f.p.dead.Load() {
		return 0, retryq.ErrClosed
	}
	return rev, err
}

func (f file) write(ctx context.Context, t retryq.Txn) (uint64, error) {
	if f.p.dead.Load() || f.d.store != f.store {
		return 0, retryq.ErrClosed // or another file lies there by now
	}
	if f.d.full && t.Growth {
		return 0, retryq.ErrFull
	}
	rev, err := f.store.Commit(context.WithoutCancel(ctx), t)
	if err == nil {
		f.d.w.committed(t, rev)
	}
	return rev, err
}

// Revision is that of the last commit.
func (f file) Revision(ctx context.Context) (uint64, error) {
	if f.p.dead.Load() {
		return 0, retryq.ErrClosed
	}
	return f.store.Revision(ctx)
}

// Close does nothing: the store outlives the process.
func (f file) Close() error { return nil }

// hangs makes the disk hang, or do what it owes.
func (d *disk) hangs(on bool) {
	d.hang = on
	for i, write := range d.hung {
		d.w.e.after(time.Duration(i+1)*100*time.Microsecond, uint64(i), write)
	}
	d.hung = nil
}

// rollBack kills broadcasterd, copies the saved file back and starts it again.
func (d *disk) rollBack() {
	w := d.w
	w.server.kill()
	d.hung, d.store = nil, d.saved.Clone()
	w.tell("the ledger's file is copied back")
	w.fired["ledger copied back"]++
	w.work.rolledBack = true
	w.judge.rolledBack(d.store)
	w.startServer()
}
