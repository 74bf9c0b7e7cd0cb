package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"go.etcd.io/bbolt"

	"longshore/retryq"
)

// request is one transaction that waits for the committer.
type request struct {
	txn    retryq.Txn
	rev    uint64
	err    error
	answer chan struct{}
}

// Commit implements [retryq.Store].
func (s *Store) Commit(ctx context.Context, t retryq.Txn) (uint64, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := &request{txn: t, answer: make(chan struct{})}
	select {
	case <-s.closing:
		return 0, retryq.ErrClosed
	default:
	}
	select {
	case s.queue <- r:
	case <-s.closing:
		return 0, retryq.ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-r.answer:
	case <-s.ended:
		select {
		case <-r.answer: // among the last
		default:
			return 0, retryq.ErrClosed
		}
	}
	return r.rev, r.err
}

// commit is the one writer. At the end it writes what is still queued.
func (s *Store) commit() {
	defer close(s.ended)
	for {
		select {
		case r := <-s.queue:
			s.write(s.drain([]*request{r}))
		case <-s.closing:
			if batch := s.drain(nil); len(batch) > 0 {
				s.write(batch)
				continue
			}
			return
		}
	}
}

// drain adds what is waiting, without waiting for more.
func (s *Store) drain(batch []*request) []*request {
	for len(batch) < batchMax {
		select {
		case r := <-s.queue:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// write makes a batch durable and answers it. A full disk costs the reserve,
// and whatever may wait for space.
func (s *Store) write(batch []*request) {
	full := s.reserve.missing()
	err := s.update(batch, full)
	if isFull(err) && s.reserve.giveUp() {
		err = s.update(batch, true)
	}
	if isFull(err) {
		err = fmt.Errorf("%w: %w", retryq.ErrFull, err)
	}
	for _, r := range batch {
		if err != nil {
			r.rev, r.err = 0, err
		}
		close(r.answer)
	}
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// errNothing ends a write that no transaction of the batch came through to.
var errNothing = errors.New("boltstore: nothing to write")

// update writes the batch in one transaction of the file. A transaction of the
// batch that is refused leaves the others as they are.
func (s *Store) update(batch []*request, full bool) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		revs, err := tx.CreateBucketIfNotExists([]byte(revBucket))
		if err != nil {
			return err
		}
		rev := revs.Sequence()
		before := rev
		for _, r := range batch {
			r.rev, r.err = 0, nil
			if full && r.txn.Growth {
				r.err = retryq.ErrFull
				continue
			}
			if !holds(tx, r.txn.Expect) {
				r.err = retryq.ErrConflict
				continue
			}
			rev++
			if err := apply(tx, r.txn, rev); err != nil {
				return err
			}
			r.rev = rev
		}
		if rev == before {
			return errNothing
		}
		return revs.SetSequence(rev)
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// holds tells whether every expectation does, as of the batch so far.
func holds(tx *bbolt.Tx, expect []retryq.Expect) bool {
	for _, e := range expect {
		var rev uint64
		if bucket := tx.Bucket(bucketOf(e.Key)); bucket != nil {
			if v := bucket.Get([]byte(e.Key)); len(v) >= 8 {
				rev = binary.BigEndian.Uint64(v)
			}
		}
		if rev != e.Rev {
			return false
		}
	}
	return true
}

func apply(tx *bbolt.Tx, t retryq.Txn, rev uint64) error {
	for _, p := range t.Put {
		bucket, err := tx.CreateBucketIfNotExists(bucketOf(p.Key))
		if err != nil {
			return err
		}
		bucket.FillPercent = 0.8 // most keys grow
		v := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(p.Value)), rev)
		if err := bucket.Put([]byte(p.Key), append(v, p.Value...)); err != nil {
			return err
		}
	}
	for _, key := range t.Delete {
		if bucket := tx.Bucket(bucketOf(key)); bucket != nil {
			if err := bucket.Delete([]byte(key)); err != nil {
				return err
			}
		}
	}
	return nil
}
