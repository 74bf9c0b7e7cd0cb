package rpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// MemoryTransport carries messages inside one process, with the bounds and the
// order of a real one. It has no goroutines and no sockets, so it may be used
// in a testing/synctest bubble. Addresses are any text. It can be told to
// delay and lose messages, to refuse and delay dials, and to cut connections:
// that is what the simulator is made of.
type MemoryTransport struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	conns     []*memoryConn // dialling ends of what is connected, in order
	dialled   int
	dials     func(identity, addr string) (time.Duration, error)
	messages  func(h Hop) Fate
}

// Hop is one message on its way.
type Hop struct {
	Identity string   // of the dialling end
	Addr     string   // of the listening end
	Inbound  bool     // from the listening end to the dialling one
	Frames   [][]byte // not to be kept or changed
}

// Fate is what becomes of a message. The zero value delivers it at once.
type Fate struct {
	Delay time.Duration // later; messages behind it wait, for order is kept
	Drop  bool          // lost without a word
	Cut   bool          // the connection breaks instead
}

// Memory makes an empty in-process network.
func Memory() *MemoryTransport {
	return &MemoryTransport{listeners: map[string]*memoryListener{}}
}

// Messages sets what decides about every message from now on; nil delivers
// all. It runs in the sender's goroutine, maybe in several at once.
func (m *MemoryTransport) Messages(f func(h Hop) Fate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = f
}

// Dials sets what decides about every dial from now on: it takes that long
// and then fails with the error, if any. nil lets all through.
func (m *MemoryTransport) Dials(f func(identity, addr string) (time.Duration, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dials = f
}

// Cut breaks the connections for which match says true, and returns how many.
// What was under way on them is lost.
func (m *MemoryTransport) Cut(match func(identity, addr string) bool) int {
	m.mu.Lock()
	var hit []*memoryConn
	for _, c := range m.conns {
		if match(c.identity, c.addr) {
			hit = append(hit, c)
		}
	}
	m.mu.Unlock()
	for _, c := range hit {
		c.cut()
	}
	return len(hit)
}

// Listen binds addr, which must not be in use.
func (m *MemoryTransport) Listen(_ context.Context, addr string) (Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if addr == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrAddress)
	}
	if m.listeners[addr] != nil {
		return nil, fmt.Errorf("listen %s: the address is in use", addr)
	}
	l := &memoryListener{transport: m, addr: addr, done: make(chan struct{}), waiting: make(chan *memoryConn)}
	m.listeners[addr] = l
	return l, nil
}

// Dial connects to a listener, waiting until it accepts.
func (m *MemoryTransport) Dial(ctx context.Context, addr, identity string) (Conn, error) {
	if err := m.delayDial(ctx, addr, identity); err != nil {
		return nil, err
	}
	m.mu.Lock()
	l := m.listeners[addr]
	m.dialled++
	from := fmt.Sprintf("memory:%s#%d", identity, m.dialled)
	m.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens at %q", addr)
	}
	near, far := newMemoryPair(m, addr, identity, from)
	select {
	case l.waiting <- far:
		return near, nil
	case <-l.done:
		near.cut()
		return nil, fmt.Errorf("nobody listens at %q any more", addr)
	case <-ctx.Done():
		near.cut()
		return nil, ctxError(ctx)
	}
}

func (m *MemoryTransport) delayDial(ctx context.Context, addr, identity string) error {
	m.mu.Lock()
	decide := m.dials
	m.mu.Unlock()
	if ctx.Err() != nil {
		return ctxError(ctx)
	}
	if decide == nil {
		return nil
	}
	delay, err := decide(identity, addr)
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctxError(ctx)
		}
	}
	return err
}

type memoryListener struct {
	transport *MemoryTransport
	addr      string
	once      sync.Once
	done      chan struct{}
	waiting   chan *memoryConn
}

func (l *memoryListener) Addr() string { return l.addr }

func (l *memoryListener) Accept(ctx context.Context) (Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctxError(ctx)
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		m := l.transport
		m.mu.Lock()
		delete(m.listeners, l.addr)
		m.mu.Unlock()
		close(l.done)
	})
	return nil
}

// memoryConn is one end of a connection.
type memoryConn struct {
	transport      *MemoryTransport
	addr, identity string
	inbound        bool // this is the listening end: it sends to the dialling one
	peer           Peer
	other          *memoryConn

	mu     sync.Mutex
	queue  []memoryMessage // that came for us
	size   int             // its bytes
	last   time.Time       // when the last one is due
	ready  chan struct{}   // one token: something changed
	ended  error           // why nothing more will come, once the queue is empty
	closed bool            // by this end
}

type memoryMessage struct {
	frames [][]byte
	size   int
	due    time.Time // zero: at once
}

func newMemoryPair(m *MemoryTransport, addr, identity, from string) (near, far *memoryConn) {
	near = &memoryConn{
		transport: m, addr: addr, identity: identity,
		peer: Peer{Addr: addr, UID: -1}, ready: make(chan struct{}, 1),
	}
	far = &memoryConn{
		transport: m, addr: addr, identity: identity, inbound: true,
		peer: Peer{Name: identity, Addr: from, UID: -1}, ready: make(chan struct{}, 1),
	}
	near.other, far.other = far, near
	m.mu.Lock()
	m.conns = append(m.conns, near)
	m.mu.Unlock()
	return near, far
}

func (c *memoryConn) Peer() Peer { return c.peer }

func (c *memoryConn) Send(frames [][]byte) error {
	size, err := messageSize(frames)
	if err != nil {
		return err
	}
	c.mu.Lock()
	closed, ended := c.closed, c.ended
	c.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if ended != nil {
		return ended
	}
	var fate Fate
	c.transport.mu.Lock()
	decide := c.transport.messages
	c.transport.mu.Unlock()
	if decide != nil {
		fate = decide(Hop{Identity: c.identity, Addr: c.addr, Inbound: c.inbound, Frames: frames})
	}
	switch {
	case fate.Cut:
		c.cut()
		return io.ErrUnexpectedEOF
	case fate.Drop:
		return nil
	}
	if !c.other.deliver(frames, size, fate.Delay) {
		c.cut()
		return ErrSlowPeer
	}
	return nil
}

// deliver queues a copy of the message; false means that the queue is full.
func (c *memoryConn) deliver(frames [][]byte, size int, delay time.Duration) bool {
	own := make([]byte, 0, size)
	copied := make([][]byte, len(frames))
	for i, f := range frames {
		own = append(own, f...)
		copied[i] = own[len(own)-len(f) : len(own) : len(own)]
	}
	var due time.Time
	if delay > 0 {
		due = time.Now().Add(delay)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ended != nil {
		return true // nobody will read it
	}
	if c.size+size > MaxQueue {
		return false
	}
	if due.Before(c.last) {
		due = c.last
	}
	c.last = due
	c.size += size
	c.queue = append(c.queue, memoryMessage{copied, size, due})
	c.signal()
	return true
}

func (c *memoryConn) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *memoryConn) Recv() ([][]byte, error) {
	for {
		frames, wait, err := c.take()
		if frames != nil || err != nil {
			return frames, err
		}
		if wait == 0 {
			<-c.ready
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.ready:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take returns the next message, or how long until it is due (0: there is
// none yet), or why none will come.
func (c *memoryConn) take() (frames [][]byte, wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, 0, ErrClosed
	case len(c.queue) == 0:
		return nil, 0, c.ended
	}
	head := c.queue[0]
	if !head.due.IsZero() {
		if wait = time.Until(head.due); wait > 0 {
			return nil, wait, nil
		}
	}
	c.queue[0] = memoryMessage{}
	c.queue = c.queue[1:]
	c.size -= head.size
	return head.frames, 0, nil
}

// Close ends this end at once; the other one still gets what was sent.
func (c *memoryConn) Close() error {
	c.finish(true, ErrClosed, false)
	c.other.finish(false, io.EOF, false)
	c.forget()
	return nil
}

// cut breaks both ends; what is queued is lost.
func (c *memoryConn) cut() {
	c.finish(false, io.ErrUnexpectedEOF, true)
	c.other.finish(false, io.ErrUnexpectedEOF, true)
	c.forget()
}

// finish marks this end; only the first reason counts.
func (c *memoryConn) finish(closed bool, why error, lose bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = c.closed || closed
	if c.ended == nil {
		c.ended = why
	}
	if lose || closed {
		c.queue, c.size = nil, 0
	}
	c.signal()
}

// forget takes the connection out of the transport's list.
func (c *memoryConn) forget() {
	near := c
	if c.inbound {
		near = c.other
	}
	m := c.transport
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.conns, near); i >= 0 {
		m.conns = slices.Delete(m.conns, i, i+1)
	}
}
