package rpc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is the connection below TLS and ZMTP. Behind the handshake only a
// patient writer waits for the peer: what the kernel does not take at once from
// others is kept, and goes out before what is written next. So whoever sends
// may write, and nothing that the peer does can hold him up.
type socket struct {
	net.Conn
	raw     syscall.RawConn
	patient atomic.Bool
	waiting atomic.Int32 // writes that may wait

	mu    sync.Mutex
	kept  []byte
	piece []byte // what attempt writes
	n     int    // of it were taken
	fault error
	write func(fd uintptr) bool // attempt
}

// newSocket is patient, for the handshake.
func newSocket(conn net.Conn) (*socket, error) {
	s := &socket{Conn: conn}
	var err error
	if c, ok := conn.(syscall.Conn); ok {
		s.raw, err = c.SyscallConn()
	}
	s.write = s.attempt
	s.patient.Store(true)
	return s, err
}

// idle is whether nothing would hold up a write that is not patient.
func (s *socket) idle() bool { return s.raw != nil && s.waiting.Load() == 0 }

func (s *socket) Write(p []byte) (int, error) {
	if s.raw == nil || s.patient.Load() {
		s.waiting.Add(1)
		defer s.waiting.Add(-1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.settle(); err != nil || len(p) == 0 {
			return 0, err
		}
		return s.Conn.Write(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if len(s.kept) == 0 {
		var err error
		if n, err = s.try(p); err != nil {
			return n, err
		}
	}
	if n < len(p) {
		s.kept = append(s.kept, p[n:]...)
	}
	if len(s.kept) > 2*unheeded { // a TLS peer makes us answer by changing keys
		return n, fmt.Errorf("%w: %d bytes wait below TLS", ErrSlowPeer, len(s.kept))
	}
	return len(p), nil
}

// behind is whether something is kept.
func (s *socket) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept) > 0
}

// settle writes what is kept, and waits for the peer; the mutex is held.
func (s *socket) settle() error {
	if len(s.kept) == 0 {
		return nil
	}
	_, err := s.Conn.Write(s.kept)
	s.kept = nil
	return err
}

// try writes what the kernel takes at once; the mutex is held.
func (s *socket) try(p []byte) (int, error) {
	s.piece, s.n, s.fault = p, 0, nil
	err := s.raw.Write(s.write)
	s.piece = nil
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil // it is the patient who set deadlines
	}
	return s.n, errors.Join(err, s.fault)
}

func (s *socket) attempt(fd uintptr) bool {
	for {
		n, err := unix.Write(int(fd), s.piece)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
		case err != nil:
			s.fault = os.NewSyscallError("write", err)
		default:
			s.n = n
		}
		return true
	}
}
