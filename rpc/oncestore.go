package rpc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// OnceID is what an idempotency key is of.
type OnceID struct{ Caller, Method, Key string }

// OnceRecord is what a [OnceStore] keeps of one call.
type OnceRecord struct {
	OnceID
	Args [32]byte // SHA-256 of the arguments

	// Of a call that has ended: its result as msgpack, or its error.
	Ended        bool
	Result       []byte
	Name, Failed string        // of the error's triple; no name: there is a result
	Age          time.Duration // since the end, when it is loaded
}

// OnceStore keeps calls for longer than the process lives. Once calls its
// methods from several goroutines, those of one call in order.
type OnceStore interface {
	// Load is called once, before all others, and gives what was kept. It need
	// not tell how old calls are whose end it cannot date: their age is 0.
	Load() ([]OnceRecord, error)
	// Begin keeps that a call is about to begin. It is durable once Begin has
	// returned. After an error the call is not made.
	Begin(r OnceRecord) error
	// End keeps what came of it. After an error, which is the store's to log,
	// the end is not known to the next process.
	End(r OnceRecord) error
	// Shed forgets what came of the call, and Drop all of it; neither waits
	// for a disk.
	Shed(id OnceID)
	Drop(id OnceID)
}

// Keep has the keys of calls of these methods outlive the process, in store:
// such a call begins only once that it does is durable. After a restart the key
// of one that had ended answers what came of it, and the key of one that had
// not answers "OutcomeUnknown", for Keep from the restart on: it may have been
// done, in part or not at all, and is not done again. Call it before anything
// is served, once.
func (o *Once) Keep(store OnceStore, methods ...string) error {
	all, err := store.Load()
	if err != nil {
		return fmt.Errorf("load the idempotency keys: %w", err)
	}
	slices.SortStableFunc(all, func(a, b OnceRecord) int { return int(b.Age - a.Age) })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.store, o.durable = store, methods
	now := time.Now()
	for _, rec := range all {
		if !rec.Ended {
			rec.Ended, rec.Name, rec.Failed = true, NameOutcomeUnknown, unknownEnd(rec.OnceID)
			rec.Age = 0
			_ = store.End(rec) // then the next process finds it the same way
		}
		r := &onceRun{id: rec.OnceID, args: rec.Args, stored: true, stop: func() {}, done: make(chan struct{}), at: now.Add(-rec.Age)}
		if rec.Name != "" {
			r.err = &named{rec.Name, rec.Failed}
		} else {
			r.result = rec.Result
		}
		close(r.done)
		o.runs[r.id] = r
		o.of[r.id.Caller]++
		o.keep(r)
	}
	o.expire(now)
	o.shed(0)
	return nil
}

func unknownEnd(id OnceID) string {
	return fmt.Sprintf("%s with the idempotency key %q was begun, and its end is not known: the process that ran it was ended\nnext: look what it has done; to run it again use a new key", id.Method, id.Key)
}

// begin keeps that the call begins, if its method's calls are kept.
func (o *Once) begin(r *onceRun) error {
	if !r.stored {
		return nil
	}
	if err := o.store.Begin(OnceRecord{OnceID: r.id, Args: r.args}); err != nil {
		return fmt.Errorf("%s was not begun: its idempotency key could not be kept: %w", r.id.Method, err)
	}
	return nil
}

// end keeps what came of the call. One that we ended ourselves has no end that
// is known.
func (o *Once) end(ctx context.Context, r *onceRun, result msgpack.RawMessage, failed *named) {
	if !r.stored || failed != nil && ctx.Err() != nil {
		return
	}
	rec := OnceRecord{OnceID: r.id, Args: r.args, Ended: true, Result: result}
	if failed != nil {
		rec.Name, rec.Failed = failed.name, failed.message
	}
	_ = o.store.End(rec) // the answer is there; the store has said why it will be lost
}
