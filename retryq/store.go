package retryq

import (
	"context"
	"errors"
	"fmt"
)

// MaxOps bounds one transaction, so that every store can carry it: etcd
// refuses more than 128 compares, and more than 128 changes.
const MaxOps = 128

// Errors of a [Store].
var (
	// ErrConflict says that an expectation did not hold; nothing was changed.
	ErrConflict = errors.New("retryq: a record changed meanwhile")
	// ErrFull says that the disk is full and that the transaction may not use
	// the reserve; nothing was changed.
	ErrFull = errors.New("retryq: the ledger's disk is full")
	// ErrClosed says that the store is closed; nothing was changed.
	ErrClosed = errors.New("retryq: the ledger's store is closed")
)

// Item is one key as the store holds it. Rev is the revision of the
// transaction that last put it; 0 means that the key is absent.
type Item struct {
	Key   string
	Rev   uint64
	Value []byte
}

// Expect demands that a key has this revision; 0: that it is absent.
type Expect struct {
	Key string
	Rev uint64
}

// Put sets a key.
type Put struct {
	Key   string
	Value []byte
}

// Txn is one atomic change: when every expectation holds, all puts and deletes
// happen, else none. A key is put or deleted at most once. At most [MaxOps]
// expectations and [MaxOps] changes.
type Txn struct {
	Expect []Expect
	Put    []Put
	Delete []string // deleting an absent key is no error
	// Growth marks what can be refused when the disk is full: new work, as
	// against cancels, binds and reports, which may use the reserve.
	Growth bool
}

// Check says whether a store would refuse t for its form.
func (t Txn) Check() error {
	if len(t.Expect) > MaxOps || len(t.Put)+len(t.Delete) > MaxOps {
		return fmt.Errorf("retryq: a transaction of %d expectations and %d changes, at most %d each", len(t.Expect), len(t.Put)+len(t.Delete), MaxOps)
	}
	seen := make(map[string]bool, len(t.Put)+len(t.Delete))
	for _, p := range t.Put {
		if p.Key == "" || seen[p.Key] {
			return fmt.Errorf("retryq: key %q is empty or put twice", p.Key)
		}
		seen[p.Key] = true
	}
	for _, key := range t.Delete {
		if key == "" || seen[key] {
			return fmt.Errorf("retryq: key %q is empty, or changed twice", key)
		}
		seen[key] = true
	}
	return nil
}

// Store is where the ledger is durable: a small versioned map. All methods may
// be called at the same time; one ledger at a time writes it. The package storetest holds its contract as a
// test.
type Store interface {
	// Get returns one item for each key, in their order.
	Get(ctx context.Context, keys ...string) ([]Item, error)
	// Scan calls f for each key with the prefix, in the order of keys, until f
	// fails. What it sees is one moment of the store. f must not call the store.
	Scan(ctx context.Context, prefix string, f func(Item) error) error
	// Commit makes t durable and returns its revision, the one that follows the
	// last, also over a restart. It fails with [ErrConflict],
	// [ErrFull] or [ErrClosed] and has then changed nothing. A context that
	// ends before t is queued stops it; afterwards its outcome is awaited.
	Commit(ctx context.Context, t Txn) (uint64, error)
	// Revision is that of the last transaction; 0 if there was none.
	Revision(ctx context.Context) (uint64, error)
	// Close ends the store; what was answered is durable. Twice is no error.
	Close() error
}
