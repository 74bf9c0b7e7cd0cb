package images

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobStore is go-containerregistry's disk handler, with two things changed:
// what is put is durable and leaves nothing behind when it fails, and a blob
// is hashed at its first use in this process only, not at every one.
type blobStore struct {
	disk diskBlobs
	dir  string

	mu      sync.Mutex
	checked map[v1.Hash]stamp
}

type diskBlobs interface {
	registry.BlobHandler
	registry.BlobStatHandler
}

// stamp tells whether a file is still the one that was hashed.
type stamp struct {
	size int64
	mod  time.Time
}

func newBlobStore(dir string) (*blobStore, error) {
	if err := makeDir(filepath.Join(dir, "sha256")); err != nil {
		return nil, err
	}
	cut, err := filepath.Glob(filepath.Join(dir, "sha256", ".new-*")) // of pushes that were cut off
	if err != nil {
		return nil, err
	}
	for _, f := range cut {
		if err := os.Remove(f); err != nil {
			return nil, err
		}
	}
	disk, ok := registry.NewDiskBlobHandler(dir).(diskBlobs)
	if !ok {
		return nil, fmt.Errorf("open %s: disk handler cannot stat", dir)
	}
	return &blobStore{disk: disk, dir: dir, checked: map[v1.Hash]stamp{}}, nil
}

func (s *blobStore) path(h v1.Hash) string { return filepath.Join(s.dir, h.Algorithm, h.Hex) }

// Get opens a blob.
func (s *blobStore) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	return s.disk.Get(ctx, repo, h)
}

// Stat is the size of a blob; registry.ErrNotFound if it is not there or is
// damaged, so that a push brings it again.
func (s *blobStore) Stat(ctx context.Context, repo string, h v1.Hash) (int64, error) {
	info, err := os.Stat(s.path(h))
	if err != nil {
		return 0, registry.ErrNotFound
	}
	now := stamp{info.Size(), info.ModTime()}
	s.mu.Lock()
	known := s.checked[h]
	s.mu.Unlock()
	if known == now {
		return now.size, nil
	}
	size, err := s.disk.Stat(ctx, repo, h)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.checked[h] = now
	s.mu.Unlock()
	return size, nil
}

// Put stores a blob durably. rc fails at its end if the content does not have
// the digest, and then nothing is stored.
func (s *blobStore) Put(_ context.Context, _ string, h v1.Hash, rc io.ReadCloser) error {
	return writeFile(s.path(h), rc)
}
