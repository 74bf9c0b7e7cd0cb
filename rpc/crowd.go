package rpc

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// unheeded is how many bytes a peer may make us hold before they count against
// what all peers of a listener may.
const unheeded = 64 << 10

// errCrowd is the root of why a connection is not let in, or is put out to
// make room for others.
var errCrowd = errors.New("put out by the listener's bounds")

// crowd is everyone connected to one listener. It bounds how many they are, how
// many come from one source, how many shake hands at once, and how much memory
// they make us hold: parts of messages that are not whole yet, and answers that
// they do not read.
//
// When a bound of the last two kinds is reached, whoever has been at it longest
// goes. An honest peer shakes hands, sends a message whole and reads its answer
// in milliseconds, so the one who goes is hardly ever honest.
type crowd struct {
	most, fromOne, hands, memory int

	mu      sync.Mutex
	shut    bool
	in      int
	sources map[string]int
	young   map[*place]struct{} // shaking hands
	hoards  map[*place]struct{} // holding more than is unheeded
	held    int                 // bytes of those
}

// place is one connection's place in the crowd. A nil place, that of a
// connection we dialled, has no bounds.
type place struct {
	crowd  *crowd
	source string
	raw    net.Conn
	out    func(error) // ends the connection once hands are shaken
	began  time.Time   // to shake hands

	// Guarded by the crowd's mutex.
	gone           bool
	reading, queue int       // bytes held: of a message not whole, of what is to be written
	since          time.Time // when that became more than is unheeded
}

func newCrowd(opts ZMQOptions) *crowd {
	return &crowd{
		most: opts.MaxConns, fromOne: opts.MaxPerSource, hands: opts.MaxHands, memory: opts.MaxMemory,
		sources: map[string]int{}, young: map[*place]struct{}{}, hoards: map[*place]struct{}{},
	}
}

// sourceOf is what the bound of one source goes by: an address without its
// port, or a user of this machine.
func sourceOf(raw net.Conn, uid int) string {
	if uid >= 0 {
		return fmt.Sprintf("uid=%d", uid)
	}
	host, _, err := net.SplitHostPort(raw.RemoteAddr().String())
	if err != nil {
		return raw.RemoteAddr().String()
	}
	return host
}

// enter gives a new connection its place, or says why there is none. It may put
// out another that shakes hands.
func (c *crowd) enter(raw net.Conn, source string) (*place, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.shut:
		return nil, ErrClosed
	case c.sources[source] >= c.fromOne:
		return nil, fmt.Errorf("%w: %d connections from %s", errCrowd, c.fromOne, source)
	case len(c.young) >= c.hands:
		c.slowest().leave()
	}
	if c.in >= c.most {
		return nil, fmt.Errorf("%w: %d connections", errCrowd, c.most)
	}
	p := &place{crowd: c, source: source, raw: raw, began: time.Now()}
	c.in++
	c.sources[source]++
	c.young[p] = struct{}{}
	return p, nil
}

// slowest is who has shaken hands longest.
func (c *crowd) slowest() *place {
	var slow *place
	for p := range c.young {
		if slow == nil || p.began.Before(slow.began) {
			slow = p
		}
	}
	return slow
}

// close ends all handshakes; nobody enters any more.
func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	for p := range c.young {
		p.leave()
	}
}

// grown says that hands are shaken; false means that the place was lost
// meanwhile. From now on out ends the connection.
func (p *place) grown(out func(error)) bool {
	p.crowd.mu.Lock()
	defer p.crowd.mu.Unlock()
	delete(p.crowd.young, p)
	p.out = out
	return !p.gone
}

// free gives the place back. Further calls do nothing.
func (p *place) free() {
	if p == nil {
		return
	}
	p.crowd.mu.Lock()
	defer p.crowd.mu.Unlock()
	p.leave()
}

// leave is free with the mutex held; a connection that still shakes hands is
// closed.
func (p *place) leave() {
	c := p.crowd
	if p.gone {
		return
	}
	p.gone = true
	if _, ok := c.young[p]; ok {
		_ = p.raw.Close() // which ends the handshake
	}
	delete(c.young, p)
	delete(c.hoards, p)
	c.held -= p.reading + p.queue
	c.in--
	if c.sources[p.source]--; c.sources[p.source] == 0 {
		delete(c.sources, p.source)
	}
}

// read says how many bytes of a message are held that is not whole yet. It
// answers who is to be evicted, or nil.
func (p *place) read(n int) *place {
	if p == nil {
		return nil
	}
	return p.set(&p.reading, n)
}

// wait says how many bytes wait to be written, likewise.
func (p *place) wait(n int) *place {
	if p == nil {
		return nil
	}
	return p.set(&p.queue, n)
}

// evict ends the connection. No mutex of a connection may be held.
func (p *place) evict() {
	if p != nil {
		p.out(fmt.Errorf("%w: all peers of it hold more than %d bytes, this one longest", errCrowd, p.crowd.memory))
	}
}

func (p *place) set(what *int, n int) (victim *place) {
	c := p.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if n <= unheeded {
		n = 0
	}
	if p.gone || n == *what {
		return nil
	}
	c.held += n - *what
	*what = n
	switch _, known := c.hoards[p]; {
	case p.reading+p.queue == 0:
		delete(c.hoards, p)
	case !known:
		p.since = time.Now()
		c.hoards[p] = struct{}{}
	}
	if c.held <= c.memory {
		return nil
	}
	for q := range c.hoards {
		if victim == nil || q.since.Before(victim.since) {
			victim = q
		}
	}
	victim.leave()
	return victim
}
