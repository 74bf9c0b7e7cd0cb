package images

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// cache is the mirror's directory.
type cache struct {
	dir   string
	max   int64
	turn  chan struct{} // one token: whoever has it tidies up
	known sync.Map      // path of a blob that was hashed in this process -> stamp
}

func openCache(dir string, maxBytes int64) (*cache, error) {
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		return nil, err
	}
	for _, sub := range []string{"tmp", "blobs/sha256", "manifests"} {
		if err := makeDir(filepath.Join(dir, filepath.FromSlash(sub))); err != nil {
			return nil, err
		}
	}
	c := &cache{dir: dir, max: maxBytes, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".new-") { // of a process that was killed
			err = os.Remove(path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, c.tidy()
}

func (c *cache) blob(digest string) string {
	return filepath.Join(c.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func (c *cache) manifest(repo, digest string) string {
	return filepath.Join(c.dir, "manifests", filepath.FromSlash(repo), digest)
}

// touch marks the file as used just now. The order of use is all that depends
// on it.
func (c *cache) touch(path string) { now := time.Now(); _ = os.Chtimes(path, now, now) }

// put makes a small file of the cache.
func (c *cache) put(path string, content io.Reader) error {
	if err := writeFile(path, content); err != nil {
		return err
	}
	return c.tidy()
}

// keep moves a whole file out of tmp to its place among the blobs. The file
// stays open.
func (c *cache) keep(f *os.File, digest string) error {
	err := f.Sync()
	if err == nil {
		err = os.Rename(f.Name(), c.blob(digest))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep blob %s: %w", digest, err), removeIfThere(f.Name()))
	}
	if info, err := f.Stat(); err == nil {
		c.known.Store(digest, info.Size())
	}
	return errors.Join(syncDir(filepath.Dir(c.blob(digest))), c.tidy())
}

// open opens a blob that is cached. One that is not what it should be is
// removed, so that it is fetched again.
func (c *cache) open(digest string) (*os.File, bool) {
	f, err := os.Open(c.blob(digest))
	if err != nil {
		return nil, false
	}
	if !c.whole(f, digest) {
		_ = errors.Join(f.Close(), os.Remove(c.blob(digest))) // fetching it again replaces it anyway
		return nil, false
	}
	c.touch(c.blob(digest))
	return f, true
}

// whole tells whether the file has the digest, by hashing it at its first use
// in this process and by its size from then on.
func (c *cache) whole(f *os.File, digest string) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	if size, ok := c.known.Load(digest); ok {
		return size == info.Size()
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil || digestSum(sum) != digest {
		return false
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false
	}
	c.known.Store(digest, info.Size())
	return true
}

// tidy removes what was not used for longest until the rest fits the bound.
// Whoever has a removed file open reads on.
func (c *cache) tidy() error {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	type entry struct {
		path string
		size int64
		used time.Time
	}
	var entries []entry
	var total int64
	err := filepath.WalkDir(c.dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed or removed meanwhile
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		total += info.Size()
		if filepath.Dir(path) != filepath.Join(c.dir, "tmp") && !strings.HasPrefix(e.Name(), ".new-") {
			entries = append(entries, entry{path, info.Size(), info.ModTime()})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	for _, e := range entries {
		if total <= c.max {
			break
		}
		if err := removeIfThere(e.path); err != nil {
			return fmt.Errorf("shrink cache: %w", err)
		}
		total -= e.size
	}
	return nil
}
