// Package boltstore is the ledger's store in a file: bbolt with one committer
// goroutine, which takes whatever is waiting (up to 1,000 transactions) into
// one write and answers after its fsync. With nothing else waiting a
// transaction is written at once.
//
// Keys lie in one bucket for each first path element ("p/..." in "p"), so that
// keys which grow are appended. A value is 8 bytes of revision and the payload;
// the revision of the last transaction is the sequence of the bucket "rev".
//
// Beside the file lies a reserve, so that cancels, binds and reports still fit
// when the disk is full: the first write that fails for lack of space gives it
// up, and from then on a transaction marked Growth is refused until the reserve
// could be made again.
//
// The file is locked while it is open: a second process is refused.
package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"longshore/internal/placement"
	"longshore/retryq"
)

// Options of a store. The zero value is what production uses.
type Options struct {
	Reserve int64 // bytes kept free for a full disk; 0: 64 MiB, negative: none
}

// Store is an open file. Make it with [Open].
type Store struct {
	db      *bbolt.DB
	path    string
	reserve *reserve
	queue   chan *request
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once
}

const (
	batchMax    = 1000
	lockTimeout = 200 * time.Millisecond
	revBucket   = "rev"
)

// Open opens or creates the file. It is refused when another process has it, or
// when a part of it is missing or damaged.
func Open(path string, o Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the ledger's directory: %w", err)
	}
	db, err := openSound(path)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &placement.Error{
			Kind: placement.KindRefused,
			What: "the ledger " + path + " cannot be opened",
			Why:  "another process has it open: there is a broadcasterd on it already",
			Next: "stop that one first, or give this one a ledger of its own",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger %s: %w", path, err)
	}
	s := &Store{
		db: db, path: path,
		reserve: newReserve(path+".reserve", o.Reserve),
		queue:   make(chan *request, batchMax),
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	go s.commit()
	return s, nil
}

// Close implements [retryq.Store].
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closing) })
	<-s.ended
	return s.db.Close()
}

// Backup writes a copy of the store, as of one moment, which [Open] opens. The
// store goes on meanwhile, however slow w is: the copy is first made beside the
// file, which takes as much of its disk for so long. A transaction that is open
// for long would keep the committer from letting the file grow.
func (s *Store) Backup(w io.Writer) error {
	spool, err := os.CreateTemp(filepath.Dir(s.path), "backup-*")
	if err != nil {
		return fmt.Errorf("copy the ledger: %w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil { // it lives as long as it is open
		return fmt.Errorf("copy the ledger: %w", err)
	}
	err = s.view(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(spool)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy the ledger: %w", err)
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("copy the ledger: %w", err)
	}
	_, err = io.CopyBuffer(w, struct{ io.Reader }{spool}, make([]byte, backupChunk))
	return err
}

// backupChunk is how much of a backup is written at once.
const backupChunk = 256 << 10

func (s *Store) view(f func(tx *bbolt.Tx) error) error {
	err := s.db.View(f)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return retryq.ErrClosed
	}
	return err
}

// Get implements [retryq.Store].
func (s *Store) Get(_ context.Context, keys ...string) ([]retryq.Item, error) {
	items := make([]retryq.Item, len(keys))
	err := s.view(func(tx *bbolt.Tx) error {
		for i, key := range keys {
			items[i] = get(tx, key)
		}
		return nil
	})
	return items, err
}

// Scan implements [retryq.Store].
func (s *Store) Scan(ctx context.Context, prefix string, f func(retryq.Item) error) error {
	return s.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketOf(prefix))
		if bucket == nil {
			return nil
		}
		cursor := bucket.Cursor()
		for k, v := cursor.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, v = cursor.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(item(string(k), v)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Revision implements [retryq.Store].
func (s *Store) Revision(context.Context) (uint64, error) {
	var rev uint64
	err := s.view(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte(revBucket)); b != nil {
			rev = b.Sequence()
		}
		return nil
	})
	return rev, err
}

// bucketOf is the first path element of a key.
func bucketOf(key string) []byte {
	first, _, _ := strings.Cut(key, "/")
	return []byte("k/" + first)
}

func get(tx *bbolt.Tx, key string) retryq.Item {
	bucket := tx.Bucket(bucketOf(key))
	if bucket == nil {
		return retryq.Item{Key: key}
	}
	return item(key, bucket.Get([]byte(key)))
}

// item copies what lies in the file.
func item(key string, v []byte) retryq.Item {
	if len(v) < 8 {
		return retryq.Item{Key: key}
	}
	return retryq.Item{Key: key, Rev: binary.BigEndian.Uint64(v), Value: append([]byte(nil), v[8:]...)}
}
