package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// fetch is one blob on its way from the upstream: a goroutine writes it to a
// file, and any number of readers follow behind, each at its own pace.
//
//	joined -> begun (size known) -> grows -> whole (digest checked) -> in the cache
//	                \------------------\--> failed (every reader is told)
type fetch struct {
	target target
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine is done with everything

	mu      sync.Mutex
	readers int           // under Mirror.mu, not mu
	changed chan struct{} // closed, and replaced, at each change of what follows
	file    *os.File      // nil until begun
	total   int64         // its size, once begun
	have    int64         // bytes that readers may have
	err     error
}

// join is a fetch of the blob, under way or begun now. Whoever joins leaves.
func (m *Mirror) join(ctx context.Context, t target) *fetch {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.fetches[t.ref]; f != nil {
		f.readers++
		return f
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the first to ask may not be the last to stay
	f := &fetch{target: t, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{}), readers: 1}
	m.fetches[t.ref] = f
	go func() {
		defer close(f.ended)
		defer cancel()
		err := m.run(ctx, f)
		m.mu.Lock()
		if m.fetches[t.ref] == f {
			delete(m.fetches, t.ref)
		}
		m.mu.Unlock()
		f.change(func() { f.err = err })
	}()
	return f
}

// leave ends the fetch if nobody else follows it and it is not whole yet. The
// last to leave waits until its goroutine has ended.
func (m *Mirror) leave(f *fetch) {
	m.mu.Lock()
	f.readers--
	last := f.readers == 0
	if last && !f.whole() {
		if m.fetches[f.target.ref] == f {
			delete(m.fetches, f.target.ref)
		}
		f.cancel()
	}
	m.mu.Unlock()
	if !last {
		return
	}
	<-f.ended // from here on nobody joins it
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.readers == 0 && f.file != nil {
		_ = f.file.Close() // it was synced where that matters; closing it twice does no harm
	}
}

// whole tells whether all of the blob has come.
func (f *fetch) whole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file != nil && f.have == f.total
}

func (f *fetch) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
	close(f.changed)
	f.changed = make(chan struct{})
}

// begun waits until the size is known.
func (f *fetch) begun(ctx context.Context) (total int64, err error) {
	for {
		f.mu.Lock()
		file, total, err, changed := f.file, f.total, f.err, f.changed
		f.mu.Unlock()
		if file != nil {
			return total, nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// copyTo sends the blob from pos on, as it arrives.
func (f *fetch) copyTo(ctx context.Context, w http.ResponseWriter, pos int64) error {
	flush := http.NewResponseController(w)
	buf := make([]byte, 64<<10)
	for {
		f.mu.Lock()
		file, total, have, err, changed := f.file, f.total, f.have, f.err, f.changed
		f.mu.Unlock()
		for pos < have {
			n, err := file.ReadAt(buf[:min(int64(len(buf)), have-pos)], pos)
			if n == 0 && err != nil {
				return err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			pos += int64(n)
		}
		if err := flush.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if pos == total {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run fetches the blob into a file, lets readers have what has come, and moves
// the file into the cache when all of it has come and its digest is right.
func (m *Mirror) run(ctx context.Context, f *fetch) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(m.opts.Stall, func() { cancel(fmt.Errorf("nothing came for %s", m.opts.Stall)) })
	defer stall.Stop()
	resp, err := m.ask(ctx, f.target)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or given up
	if resp.ContentLength < 0 {
		return &upstreamError{http.StatusBadGateway, "UNKNOWN", "the cluster's registry does not say how large the blob is"}
	}
	file, err := os.CreateTemp(filepath.Join(m.dir, "tmp"), "blob-*")
	if err != nil {
		return err
	}
	f.change(func() { f.file, f.total = file, resp.ContentLength })
	err = f.receive(resp.Body, resp.ContentLength, func() { stall.Reset(m.opts.Stall) })
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	if err == nil {
		err = m.cache.keep(file, f.target.ref)
	} else {
		err = errors.Join(fmt.Errorf("fetch blob %s: %w", f.target.ref, err), os.Remove(file.Name()))
	}
	if err != nil && !errors.Is(err, context.Canceled) { // readers see a cut connection, not this
		m.log.Warn("blob not fetched", "repo", f.target.repo, "digest", f.target.ref, "err", err)
	}
	return err
}

// receive copies the body to the file. Readers get the last piece only after
// the digest of the whole was found right.
func (f *fetch) receive(body io.Reader, total int64, alive func()) error {
	sum := sha256.New()
	buf := make([]byte, 256<<10)
	got := int64(0)
	for got < total {
		n, err := body.Read(buf[:min(int64(len(buf)), total-got)])
		if n > 0 {
			alive()
			sum.Write(buf[:n])
			if _, err := f.file.Write(buf[:n]); err != nil {
				return err
			}
			if got += int64(n); got < total {
				f.change(func() { f.have = got })
			}
		}
		if err != nil && got < total {
			return errors.Join(err, fmt.Errorf("%d of %d bytes came", got, total))
		}
	}
	if d := digestSum(sum); d != f.target.ref {
		return fmt.Errorf("what came has digest %s", d)
	}
	f.change(func() { f.have = total })
	return nil
}

func digestSum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
