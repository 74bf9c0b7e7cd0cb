// Package redistest starts real Redis servers for tests: on a private unix
// socket in a directory of their own, ended and removed with the test.
package redistest

import (
	"os"
	"syscall"
	"testing"

	"longshore/internal/claim"
)

// Redis is a server that a test may kill and start again.
type Redis struct {
	tb     testing.TB
	dir    string
	server *claim.Server
}

// Start starts an empty server. A machine without redis-server fails the test.
func Start(tb testing.TB) *Redis {
	tb.Helper()
	dir, err := os.MkdirTemp("/tmp", "ls")
	if err != nil {
		tb.Fatal(err)
	}
	r := &Redis{tb: tb, dir: dir}
	tb.Cleanup(func() {
		if r.server != nil {
			_ = r.server.Close() // nothing to do about it
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	r.Restart()
	return r
}

// URL is what claim.Config takes; it stays the same over restarts.
func (r *Redis) URL() string { return r.server.URL() }

// Kill ends the server with SIGKILL and waits for its end.
func (r *Redis) Kill() {
	r.tb.Helper()
	if err := syscall.Kill(r.server.PID(), syscall.SIGKILL); err != nil {
		r.tb.Fatal(err)
	}
	_ = r.server.Close() // waits
}

// Restart starts the server again after [Redis.Kill], empty.
func (r *Redis) Restart() {
	r.tb.Helper()
	server, err := claim.StartServer(r.tb.Context(), r.dir, nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.server = server
}

// Freeze stops the server's process without ending it: it takes connections
// and answers nothing, until the function that is returned is called.
func (r *Redis) Freeze() (thaw func()) {
	r.tb.Helper()
	pid := r.server.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		r.tb.Fatal(err)
	}
	return func() {
		r.tb.Helper()
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			r.tb.Fatal(err)
		}
	}
}
