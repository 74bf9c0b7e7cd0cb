package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
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

// zmqConn is a shaken-hands connection. Send frames into a buffer, which a
// flusher writes while the next is filled, as long as there is something. So a
// send never waits for the peer, and messages that come close together go out
// in one write. SendNow writes by itself, if nobody else does.
type zmqConn struct {
	guard *guard
	raw   net.Conn // the socket, or TLS on it
	sock  *socket  // nil: SendNow is Send
	peer  Peer
	place *place // among the listener's; nil when dialled

	limit   time.Time // until when a write may last; the flusher's
	reading bool      // of its messages so much that the place counts it; the reader's

	done chan struct{} // the connection has ended

	mu      sync.Mutex
	buf     *buffer // waiting; nil: nothing
	busy    bool    // somebody writes, or the connection has ended
	writing int     // bytes with who writes
	heeded  bool    // what waits is counted by the place
	err     error   // why nothing may be sent any more
}

// buffer is messages as they are on the wire.
type buffer struct{ b []byte }

// buffers are shared by all connections: most write nothing most of the time.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// recycle keeps the buffer for another write.
func (b *buffer) recycle() {
	if cap(b.b) <= keep {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

func newZMQConn(g *guard, sock *socket, peer Peer, at *place) *zmqConn {
	c := &zmqConn{guard: g, raw: g.Conn, sock: sock, peer: peer, place: at, done: make(chan struct{})}
	g.established(c)
	if sock != nil {
		sock.patient.Store(false)
	}
	return c
}

func (c *zmqConn) Peer() Peer { return c.peer }

func (c *zmqConn) Send(frames [][]byte) error {
	size, err := messageSize(frames)
	if err != nil {
		return err
	}
	c.mu.Lock()
	return c.queue(frames, size)
}

// held is how many bytes wait; the mutex is held.
func (c *zmqConn) held() int {
	if c.buf == nil {
		return c.writing
	}
	return len(c.buf.b) + c.writing
}

// room makes sure that there is a buffer; the mutex is held.
func (c *zmqConn) room() {
	if c.buf == nil {
		c.buf = buffers.Get().(*buffer)
	}
}

// queue is Send of a message of a checked size; the mutex is held, and let go.
func (c *zmqConn) queue(frames [][]byte, size int) (err error) {
	switch {
	case c.err != nil:
		err = c.err
	case c.held()+size > MaxQueue:
		err = ErrSlowPeer
	default:
		c.room()
		c.buf.b = appendMessage(c.buf.b, frames)
		c.start()
	}
	victim := c.count()
	c.mu.Unlock()
	victim.evict()
	if errors.Is(err, ErrSlowPeer) {
		c.abort(err)
	}
	return err
}

// SendNow is Send for who expects no others to send soon: it writes at once
// what the kernel takes at once, which spares a switch to the flusher.
func (c *zmqConn) SendNow(frames [][]byte) error {
	size, err := messageSize(frames)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.err != nil || c.busy || size > unheeded || c.sock == nil || !c.sock.idle() {
		return c.queue(frames, size)
	}
	c.busy = true
	c.writing = size
	c.mu.Unlock()
	out := buffers.Get().(*buffer)
	out.b = appendMessage(out.b, frames)
	_, err = c.raw.Write(out.b)
	out.recycle()
	if err != nil {
		err = fmt.Errorf("write: %w", err)
		c.abort(err)
	}
	behind := c.sock.behind()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = 0
	c.busy = false
	if behind || c.err != nil || c.buf != nil {
		c.start()
	}
	return err
}

// start begins to write what is queued, unless somebody does; the mutex is held.
func (c *zmqConn) start() {
	if !c.busy {
		c.busy = true
		go c.flush()
	}
}

// count tells the place how much waits to be written, when that is much; the
// mutex is held. Who it answers is to be evicted.
func (c *zmqConn) count() *place {
	n := c.held()
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
	if c.held() > unheeded || c.err != nil {
		return nil
	}
	c.room()
	c.buf.b = append(c.buf.b, flagCommand, byte(1+len("PONG")+len(context)), byte(len("PONG")))
	c.buf.b = append(c.buf.b, "PONG"...)
	c.buf.b = append(c.buf.b, context...)
	c.start()
	return nil
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

// flush writes what is queued until there is nothing; of a connection that
// ends it is the last. First it lets others run, for they may have more.
func (c *zmqConn) flush() {
	runtime.Gosched()
	var failed error
	for {
		c.mu.Lock()
		c.writing = 0
		out := c.buf
		c.buf = nil
		c.count() // less than before: nobody is evicted
		ending := c.err != nil
		if failed != nil || out == nil && !c.behind() {
			c.busy = ending
			c.mu.Unlock()
			if ending {
				c.release()
			}
			return
		}
		if out == nil {
			out = buffers.Get().(*buffer)
		}
		c.writing = len(out.b)
		c.mu.Unlock()
		failed = c.writeAll(out.b)
		out.recycle()
		if failed != nil {
			c.abort(fmt.Errorf("write: %w", failed)) // of no effect if it ends already
		}
	}
}

// behind is whether the socket has kept something.
func (c *zmqConn) behind() bool { return c.sock != nil && c.sock.behind() }

// allow gives the peer from once to twice the stall to take a chunk: to set a
// deadline costs so much that it is not done for each.
func (c *zmqConn) allow(now time.Time) error {
	if c.limit.Sub(now) >= stall {
		return nil
	}
	c.limit = now.Add(2 * stall)
	return c.raw.SetWriteDeadline(c.limit)
}

// permit gives time for the next write, unless there shall be none.
func (c *zmqConn) permit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err == nil:
		return c.allow(time.Now())
	case errors.Is(c.err, ErrClosed):
		return nil // Close has set it
	}
	return io.ErrClosedPipe
}

// writeAll writes in chunks, each of which the peer must take in time; an
// empty one is for what the socket has kept.
func (c *zmqConn) writeAll(b []byte) error {
	if c.sock != nil {
		c.sock.patient.Store(true)
		defer c.sock.patient.Store(false)
		if c.sock.behind() {
			if err := c.permit(); err != nil {
				return err
			}
			if _, err := c.sock.Write(nil); err != nil {
				return err
			}
		}
	}
	for len(b) > 0 {
		if err := c.permit(); err != nil {
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
	close(c.done)
}

// abort ends the connection without flushing.
func (c *zmqConn) abort(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = why
		c.buf = nil
		_ = c.raw.SetDeadline(time.Now()) // ends a write and a read in progress
		c.start()
	}
}

func (c *zmqConn) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrClosed
		_ = c.raw.SetWriteDeadline(time.Now().Add(farewell)) // fails when it is gone already
		c.start()
	}
	c.mu.Unlock()
	<-c.done
	return nil
}
