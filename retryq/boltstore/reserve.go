package boltstore

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// reserve is a file that takes up space until it is needed. Only the committer
// uses it.
type reserve struct {
	path  string
	size  int64 // 0: there is none
	held  bool
	tried time.Time
}

const (
	reserveSize  = 64 << 20
	reserveRetry = 10 * time.Second // between attempts to make it again
)

func newReserve(path string, size int64) *reserve {
	r := &reserve{path: path, size: size}
	if size == 0 {
		r.size = reserveSize
	}
	if r.size < 0 {
		r.size = 0
		return r
	}
	r.make()
	return r
}

// make allocates the file; without space there is none, which is what missing
// then says.
func (r *reserve) make() {
	r.tried = time.Now()
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, r.size); err == nil {
		r.held = true
		return
	}
	os.Remove(r.path)
}

// missing tells whether the reserve is given up, after trying now and then to
// make it again.
func (r *reserve) missing() bool {
	if r.size == 0 || r.held {
		return false
	}
	if time.Since(r.tried) >= reserveRetry {
		r.make()
	}
	return !r.held
}

// giveUp frees the reserve's space; false if there was none to free.
func (r *reserve) giveUp() bool {
	if !r.held {
		return false
	}
	r.held = false
	r.tried = time.Now()
	return os.Remove(r.path) == nil
}
