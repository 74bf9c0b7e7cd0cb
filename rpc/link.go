package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Link is one connection with everything that goes over it. It is symmetric:
// either end calls the other's methods. Safe for use by many goroutines.
type Link struct {
	svc    *service
	conn   Conn
	base   string // the second part of every id of ours
	seq    atomic.Uint32
	cancel context.CancelCauseFunc     // ends the context of every handler
	done   chan struct{}               // closed when the link is down
	wg     sync.WaitGroup              // reader, heartbeats, handlers
	now    func(frames [][]byte) error // sends at once, if the connection can; or else as ever

	mu       sync.Mutex
	err      error                // why it ended
	calls    map[string]*outgoing // channels we opened, by the text of their id
	served   map[string]*incoming // channels the peer opened, by their raw id
	handlers int
	pending  int // bytes of the events that handlers hold
	wheel    wheel
	timer    *time.Timer // turns it; nil before the first channel
}

// newLink makes a link that read must serve; the context for it and for the
// handlers is a child of ctx. It ends with the link, not the other way round.
func newLink(ctx context.Context, s *service, conn Conn) (*Link, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &Link{
		svc: s, conn: conn, cancel: cancel, base: randomBase(),
		done: make(chan struct{}), now: conn.Send,
		calls: map[string]*outgoing{}, served: map[string]*incoming{},
	}
	if c, ok := conn.(interface{ SendNow(frames [][]byte) error }); ok {
		l.now = c.SendNow
	}
	l.wg.Add(1)
	return l, ctx
}

// randomBase is 24 hex digits that two links hardly share.
func randomBase() string {
	return fmt.Sprintf("%016x%08x", rand.Uint64(), rand.Uint32())
}

// randomID is one for an event on no link.
func randomID() (b [idSize]byte) {
	for i := range b {
		b[i] = "0123456789abcdef"[rand.IntN(16)]
	}
	return b
}

// newID is 32 hex digits, unique on this link.
func (l *Link) newID() (b [idSize]byte) {
	n := l.seq.Add(1)
	hex.Encode(b[:8], []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	copy(b[8:], l.base)
	return b
}

// Peer says who is at the other end.
func (l *Link) Peer() Peer { return l.conn.Peer() }

// Done is closed when the link is down; Err says why.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err is nil while the link is up, then ErrClosed or an ErrLostRemote.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close ends the link: calls in progress fail with ErrClosed, the contexts of
// handlers end. It does not wait for handlers, so they may call it; Wait does.
// Further calls do nothing. The error is always nil.
func (l *Link) Close() error {
	l.fail(ErrClosed)
	return nil
}

// Wait blocks until the link is down and its handlers have returned. A handler
// must not call it.
func (l *Link) Wait() { l.wg.Wait() }

// fail takes the link down once, for err.
func (l *Link) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	for _, c := range l.calls {
		c.end(err)
	}
	clear(l.calls)
	clear(l.served)
	l.wheel = wheel{armed: true} // nothing to beat for, ever
	if l.timer != nil && l.timer.Stop() {
		l.wg.Done()
	}
	close(l.done)
	l.mu.Unlock()
	l.cancel(err)
	_ = l.conn.Close() // it has ended; how does not matter any more
}

// read hands every message to its channel until the connection ends. It is to
// be called once.
func (l *Link) read(ctx context.Context) {
	defer l.wg.Done()
	for {
		frames, err := l.conn.Recv()
		if err == nil {
			err = l.handle(ctx, frames)
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrClosed):
			l.fail(err)
			return
		default:
			l.fail(lost(err))
			return
		}
	}
}

// handle takes one message. An error means that the peer does not speak the
// protocol.
func (l *Link) handle(ctx context.Context, frames [][]byte) error {
	last := len(frames) - 1
	e, err := parseEvent(frames[last])
	if err != nil {
		return err
	}
	if e.responseTo == nil {
		l.open(ctx, frames[:last], e, len(frames[last]))
		return nil
	}
	l.route(e)
	return nil
}

// route gives e to the channel it belongs to. Late events of closed channels
// are dropped silently, as the protocol wants.
func (l *Link) route(e event) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.calls[string(idText(e.responseTo))]; c != nil {
		c.pulse.seen = now
		c.arrive(e)
		return
	}
	if in := l.served[string(e.responseTo)]; in != nil {
		in.pulse.seen = now
		in.arrive(e)
	}
}

// beat sends the heartbeats of all channels that are due, and ends those that
// missed two. The timer runs it.
func (l *Link) beat() {
	now := time.Now()
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		l.wg.Done()
		return
	}
	beat, lost, next := l.wheel.turn(now, l.svc.Heartbeat)
	for _, p := range lost {
		p.owner.lose(fmt.Errorf("%w: no heartbeat for %v", ErrLostRemote, now.Sub(p.seen)))
	}
	l.mu.Unlock()
	for _, p := range beat {
		envelope, id := p.owner.address()
		if err := l.emit(envelope, id, eventBeat, 0); err != nil {
			break // the link is going down
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if next.IsZero() || l.err != nil {
		l.wg.Done()
		return
	}
	l.timer.Reset(next.Sub(now))
}

// enrol starts the heartbeats of a channel. The mutex is held.
func (l *Link) enrol(p *pulse, owner channel, now time.Time) {
	p.owner = owner
	if !l.wheel.add(p, now.Add(l.svc.Heartbeat)) {
		return
	}
	l.wg.Add(1)
	if l.timer == nil {
		l.timer = time.AfterFunc(l.svc.Heartbeat, l.beat)
	} else {
		l.timer.Reset(l.svc.Heartbeat)
	}
}

// emit sends one event with args as its list.
func (l *Link) emit(envelope [][]byte, responseTo []byte, name string, args ...any) error {
	e := l.svc.pool.get()
	defer l.svc.pool.put(e)
	if err := e.event(&opening{id: l.newID(), responseTo: responseTo, name: name}); err != nil {
		return err
	}
	if err := e.list(args...); err != nil {
		return err
	}
	if err := e.seal(); err != nil {
		return err
	}
	return l.transmit(envelope, e, l.conn.Send)
}

// transmit sends the sealed event in e.
func (l *Link) transmit(envelope [][]byte, e *encoder, send func([][]byte) error) error {
	e.frames = append(append(e.frames[:0], envelope...), e.buf.Bytes())
	err := send(e.frames)
	clear(e.frames)
	switch {
	case err == nil || errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, ErrClosed):
		if why := l.Err(); why != nil {
			return why
		}
	}
	return lost(err)
}
