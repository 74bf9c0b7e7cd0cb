// Package memstore is the ledger's store in memory: for `dev --ephemeral`, and
// for simulations. It keeps the contract of [retryq.Store] but for durability:
// everything is gone with the process. A ledger can be opened again on a store
// that is still open.
package memstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"longshore/retryq"
)

// Store is a map with revisions. Make it with [New].
type Store struct {
	mu     sync.Mutex
	items  map[string]retryq.Item
	rev    uint64
	closed bool
}

// New is an empty store.
func New() *Store { return &Store{items: make(map[string]retryq.Item)} }

// Get implements [retryq.Store].
func (s *Store) Get(_ context.Context, keys ...string) ([]retryq.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, retryq.ErrClosed
	}
	items := make([]retryq.Item, len(keys))
	for i, key := range keys {
		items[i] = s.items[key]
		items[i].Key = key
	}
	return items, nil
}

// Scan implements [retryq.Store].
func (s *Store) Scan(ctx context.Context, prefix string, f func(retryq.Item) error) error {
	found, err := s.collect(prefix)
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b retryq.Item) int { return strings.Compare(a.Key, b.Key) })
	for _, item := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(item); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) collect(prefix string) ([]retryq.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, retryq.ErrClosed
	}
	var found []retryq.Item
	for key, item := range s.items {
		if strings.HasPrefix(key, prefix) {
			found = append(found, item)
		}
	}
	return found, nil
}

// Commit implements [retryq.Store].
func (s *Store) Commit(ctx context.Context, t retryq.Txn) (uint64, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, retryq.ErrClosed
	}
	for _, e := range t.Expect {
		if s.items[e.Key].Rev != e.Rev {
			return 0, retryq.ErrConflict
		}
	}
	s.rev++
	for _, p := range t.Put {
		s.items[p.Key] = retryq.Item{Key: p.Key, Rev: s.rev, Value: bytes.Clone(p.Value)}
	}
	for _, key := range t.Delete {
		delete(s.items, key)
	}
	return s.rev, nil
}

// Revision implements [retryq.Store].
func (s *Store) Revision(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, retryq.ErrClosed
	}
	return s.rev, nil
}

// Close implements [retryq.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Clone is a store with the same content and revision: a copy of the file.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{items: maps.Clone(s.items), rev: s.rev}
}
