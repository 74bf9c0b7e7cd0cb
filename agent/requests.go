package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"longshore/internal/placement"
)

// requests keeps the request of each copy in a file named by its digest, from
// before the copy is created until the last copy made from it is gone. A lost
// ledger is rebuilt from these. They may hold secrets: 0600.
type requests struct {
	dir string

	mu   sync.Mutex
	used map[string]*requestFile
}

// requestFile is one digest in use, or one whose file is just being removed.
type requestFile struct {
	users int
	ready chan struct{} // closed when the file is written, or failed to be
	err   error         // read after ready
	going chan struct{} // not nil: the last user left; closed when the file is removed
}

func openRequests(stateDir string) (*requests, error) {
	dir := filepath.Join(stateDir, "requests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of requests: %w", err)
	}
	return &requests{dir: dir, used: map[string]*requestFile{}}, nil
}

func (r *requests) path(digest string) string {
	return filepath.Join(r.dir, strings.TrimPrefix(digest, "sha256:"))
}

// keep counts a user of the request and returns when its file is durable.
// After an error there is no new user.
func (r *requests) keep(ctx context.Context, digest string, req placement.Request) error {
	for {
		f, first := r.enter(digest)
		if first {
			f.err = r.write(digest, req)
			close(f.ready)
		}
		switch {
		case f.going != nil:
			if !closed(ctx, f.going) {
				return ctx.Err()
			}
			continue // it is gone now: write it anew
		case !closed(ctx, f.ready):
			r.leave(digest)
			return ctx.Err()
		case f.err != nil:
			r.leave(digest)
			return fmt.Errorf("store the request: %w", f.err)
		}
		return nil
	}
}

// closed waits for c to be closed; false if ctx ends first.
func closed(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default: // if both are over, that counts which is waited for
	}
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// enter counts a user, unless the file is going; first is true for who must
// write the file.
func (r *requests) enter(digest string) (f *requestFile, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.used[digest]; f != nil {
		if f.going != nil {
			return &requestFile{going: f.going}, false
		}
		f.users++
		return f, false
	}
	f = &requestFile{users: 1, ready: make(chan struct{})}
	r.used[digest] = f
	return f, true
}

func (r *requests) write(digest string, req placement.Request) error {
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	return replaceFile(r.path(digest), b, true)
}

// load reads the request of a copy that a listing showed, and counts a user of
// it if there is a file that holds what its name says.
func (r *requests) load(ctx context.Context, digest string) (req placement.Request, ok bool) {
	f, first := r.enter(digest)
	if f.going != nil {
		return req, false
	}
	if first {
		close(f.ready) // it was written by an earlier run, if at all
	}
	if !closed(ctx, f.ready) {
		r.leave(digest)
		return req, false
	}
	req, err := r.read(digest)
	if err != nil {
		r.leave(digest)
		return placement.Request{}, false
	}
	return req, true
}

// digestForm keeps what others ask for within the directory.
var digestForm = regexp.MustCompile("^sha256:[0-9a-f]{64}$")

// read is the request in the file of that name, if it holds what its name says.
func (r *requests) read(digest string) (req placement.Request, err error) {
	fault := func(kind, what string) error {
		return &placement.Error{Kind: kind, What: what, Next: "the copies made from it run on; what they are is not known"}
	}
	if !digestForm.MatchString(digest) {
		return req, fault(placement.KindInvalid, fmt.Sprintf("%.80q is no digest of a request", digest))
	}
	b, err := os.ReadFile(r.path(digest))
	sum := sha256.Sum256(b)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return req, fault(placement.KindNotFound, "there is no file of request "+digest)
	case err != nil:
		return req, fmt.Errorf("read a request: %w", err)
	case "sha256:"+hex.EncodeToString(sum[:]) != digest:
		return req, fault(placement.KindRefused, "the file of request "+digest+" is damaged")
	}
	if err := json.Unmarshal(b, &req); err != nil {
		return placement.Request{}, fault(placement.KindRefused, "the file of request "+digest+" is of no known form")
	}
	return req, nil
}

// leave takes a user away, and the file with the last one. What cannot be
// removed is left lying: the next user of the digest writes it anew.
func (r *requests) leave(digest string) {
	r.mu.Lock()
	f := r.used[digest]
	if f == nil || f.going != nil {
		r.mu.Unlock()
		return
	}
	f.users--
	if f.users > 0 {
		r.mu.Unlock()
		return
	}
	f.going = make(chan struct{})
	r.mu.Unlock()

	os.Remove(r.path(digest))

	r.mu.Lock()
	delete(r.used, digest)
	r.mu.Unlock()
	close(f.going)
}

// sweep removes the files that no copy uses: those of placements that a killed
// agent had not created yet. Call it when the copies of all daemons are loaded.
func (r *requests) sweep() error {
	files, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("list the requests: %w", err)
	}
	for _, f := range files {
		digest := "sha256:" + strings.TrimSuffix(f.Name(), ".next")
		gone := make(chan struct{})
		r.mu.Lock()
		unused := r.used[digest] == nil
		if unused {
			r.used[digest] = &requestFile{going: gone} // who comes now waits, and writes it anew
		}
		r.mu.Unlock()
		if !unused {
			continue
		}
		err = errors.Join(err, os.Remove(filepath.Join(r.dir, f.Name())))
		r.mu.Lock()
		delete(r.used, digest)
		r.mu.Unlock()
		close(gone)
	}
	return err
}
