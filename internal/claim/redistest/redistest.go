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
	t      testing.TB
	dir    string
	server *claim.Server
}

// Start starts an empty server. A machine without redis-server fails the test.
func Start(t testing.TB) *Redis {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ls") // short: a socket's path has at most 104 bytes
	if err != nil {
		t.Fatal(err)
	}
	r := &Redis{t: t, dir: dir}
	t.Cleanup(func() {
		if r.server != nil {
			_ = r.server.Close() // nothing to do about it
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r.Restart()
	return r
}

// URL is what claim.Config takes; it stays the same over restarts.
func (r *Redis) URL() string { return r.server.URL() }

// Kill ends the server with SIGKILL and waits for its end.
func (r *Redis) Kill() {
	r.t.Helper()
	if err := syscall.Kill(r.server.PID(), syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	_ = r.server.Close() // waits
}

// Restart starts the server again after [Redis.Kill], empty.
func (r *Redis) Restart() {
	r.t.Helper()
	server, err := claim.StartServer(r.t.Context(), r.dir, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.server = server
}

// Freeze stops the server's process without ending it: it takes connections
// and answers nothing, until the function that is returned is called.
func (r *Redis) Freeze() (thaw func()) {
	r.t.Helper()
	pid := r.server.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	return func() {
		r.t.Helper()
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			r.t.Fatal(err)
		}
	}
}
