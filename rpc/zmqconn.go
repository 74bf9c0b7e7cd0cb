package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

func nullSecurity() zmq4.Security { return null.Security() }

// Times of writing.
const (
	farewell = 200 * time.Millisecond // for what is queued at Close
	chunk    = 256 << 10              // bytes that must be taken within stall
	keep     = 64 << 10               // bytes of a buffer kept when idle
)

// zmqConn is a shaken-hands connection. Send frames into one buffer; the
// flusher writes the other one; they swap. So a send never waits for the
// peer, and messages that come close together go out in one write.
type zmqConn struct {
	guard *guard
	raw   net.Conn
	peer  Peer
	place *place // among the listener's; nil when dialled

	limit   time.Time // until when a write may last; the flusher's
	reading bool      // of its messages so much that the place counts it; the reader's

	wake chan struct{} // one token: there is something to write
	done chan struct{} // the flusher has ended

	mu      sync.Mutex
	buf     []byte // waiting
	writing int    // bytes with the flusher
	heeded  bool   // what waits is counted by the place
	err     error  // why nothing may be sent any more
}

func newZMQConn(g *guard, peer Peer, at *place) *zmqConn {
	c := &zmqConn{
		guard: g, raw: g.Conn, peer: peer, place: at,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	g.established(c)
	go c.flush()
	return c
}

func (c *zmqConn) Peer() Peer { return c.peer }

func (c *zmqConn) Send(frames [][]byte) error {
	size, err := messageSize(frames)
	if err != nil {
		return err
	}
	c.mu.Lock()
	switch {
	case c.err != nil:
		err = c.err
	case len(c.buf)+c.writing+size > MaxQueue:
		err = ErrSlowPeer
	default:
		c.buf = appendMessage(c.buf, frames)
	}
	victim := c.count()
	c.mu.Unlock()
	victim.evict()
	if errors.Is(err, ErrSlowPeer) {
		c.abort(err)
	}
	c.kick()
	return err
}

// count tells the place how much waits to be written, when that is much; the
// mutex is held. Who it answers is to be evicted.
func (c *zmqConn) count() *place {
	n := len(c.buf) + c.writing
	if n <= unheeded && !c.heeded {
		return nil
	}
	c.heeded = n > unheeded
	return c.place.wait(n)
}

// hold is the guard's: so much of a message that is not whole was read.
func (c *zmqConn) hold(n int) {
	if n > unheeded || c.reading {
		c.reading = n > unheeded
		c.place.read(n).evict()
	}
}

// pong queues the answer to a PING, between messages. A peer that does not
// read gets none.
func (c *zmqConn) pong(context []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf)+c.writing > unheeded {
		return nil
	}
	c.buf = append(c.buf, flagCommand, byte(1+len("PONG")+len(context)), byte(len("PONG")))
	c.buf = append(c.buf, "PONG"...)
	c.buf = append(c.buf, context...)
	c.kick()
	return nil
}

func (c *zmqConn) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *zmqConn) Recv() ([][]byte, error) {
	frames, err := c.guard.recv()
	if err == nil {
		return frames, nil
	}
	c.mu.Lock()
	why := c.err
	c.mu.Unlock()
	if why != nil {
		return nil, why
	}
	return nil, err
}

// flush writes what Send queued until the connection ends.
func (c *zmqConn) flush() {
	defer close(c.done)
	defer c.release()
	var out []byte
	for range c.wake {
		c.mu.Lock()
		out, c.buf = c.buf, out[:0]
		c.writing = len(out)
		ending := c.err != nil
		c.mu.Unlock()
		err := c.writeAll(out)
		if err != nil && !ending {
			c.abort(fmt.Errorf("write: %w", err))
		}
		c.mu.Lock()
		c.writing = 0
		c.count() // less than before: nobody is evicted
		ended := c.err != nil && (err != nil || len(c.buf) == 0)
		c.mu.Unlock()
		if ended {
			return
		}
		if cap(out) > keep {
			out = nil
		}
	}
}

// allow gives the peer from once to twice the stall to take a chunk: to set a
// deadline costs so much that it is not done for each.
func (c *zmqConn) allow(now time.Time) error {
	if c.limit.Sub(now) >= stall {
		return nil
	}
	c.limit = now.Add(2 * stall)
	return c.raw.SetWriteDeadline(c.limit)
}

// writeAll writes in chunks, each of which the peer must take in time.
func (c *zmqConn) writeAll(b []byte) error {
	for len(b) > 0 {
		c.mu.Lock()
		err := io.ErrClosedPipe
		switch {
		case c.err == nil:
			err = c.allow(time.Now())
		case errors.Is(c.err, ErrClosed):
			err = nil // Close has set it
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
		n, err := c.raw.Write(b[:min(len(b), chunk)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// release closes the socket, which ends Recv. TLS says no goodbye: it would
// wait for a peer that takes no bytes, and ZMTP's own lengths show what is cut.
func (c *zmqConn) release() {
	raw := c.raw
	if s, ok := raw.(*tls.Conn); ok {
		raw = s.NetConn()
	}
	_ = raw.Close() // it has ended; how does not matter any more
	c.place.free()
}

// abort ends the connection without flushing.
func (c *zmqConn) abort(why error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = why
		c.buf = nil
		_ = c.raw.SetDeadline(time.Now()) // ends a write and a read in progress
	}
	c.mu.Unlock()
	c.kick()
}

func (c *zmqConn) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrClosed
		_ = c.raw.SetWriteDeadline(time.Now().Add(farewell)) // fails when it is gone already
	}
	c.mu.Unlock()
	c.kick()
	<-c.done
	return nil
}
