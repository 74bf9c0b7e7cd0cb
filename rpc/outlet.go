package rpc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
)

// Outlet sends events that nobody answers: to all who are connected (PUB), or
// each to one of them (PUSH). It may listen and dial at several places at
// once; the transports need that Socket. Safe for use by many goroutines.
//
// Nothing is kept for peers that are not there, and one that reads too slowly
// is dropped, with what was queued for it.
type Outlet struct {
	svc  *service
	push bool

	mu      sync.Mutex
	outs    []*out
	turn    int           // whose is the next event, of PUSH
	changed chan struct{} // closed and made anew when somebody comes
}

// out is one connected peer.
type out struct {
	conn   Conn
	topics [][]byte // beginnings of the events that it wants, of PUB
}

// maxTopics is how many subscriptions a peer may have. Stock ones have one, to
// everything.
const maxTopics = 100

// Publisher makes an Outlet that sends to all subscribers. Of cfg it takes
// Identity, Logger and Rand.
func Publisher(cfg Config) (*Outlet, error) { return newOutlet(cfg, false) }

// Pusher makes an Outlet that hands each event to one puller, in turns. Of cfg
// it takes Identity, Logger and Rand.
func Pusher(cfg Config) (*Outlet, error) { return newOutlet(cfg, true) }

func newOutlet(cfg Config, push bool) (*Outlet, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, err
	}
	return &Outlet{svc: s, push: push, changed: make(chan struct{})}, nil
}

// Serve takes in who connects to l until ctx ends, as [Serve] does.
func (o *Outlet) Serve(ctx context.Context, l Listener) error {
	return o.svc.attach(ctx, l, func(ctx context.Context, c Conn) { o.svc.one(ctx, c, o.hold) })
}

// Keep stays connected to addr until ctx ends, as [Keep] does.
func (o *Outlet) Keep(ctx context.Context, t Transport, addr string) error {
	return o.svc.reattach(ctx, t, addr, o.hold)
}

// Send sends one event. A publisher without subscribers sends it to nobody; a
// pusher without pullers waits until there is one, or ctx ends.
func (o *Outlet) Send(ctx context.Context, method string, args ...any) error {
	e := o.svc.pool.get()
	defer o.svc.pool.put(e)
	err := e.event(&opening{id: randomID(), name: method})
	if err == nil {
		err = e.list(args...)
	}
	if err == nil {
		err = e.seal()
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", method, err)
	}
	frames := [][]byte{e.buf.Bytes()}
	if !o.push {
		o.publish(frames)
		return nil
	}
	for {
		to, changed := o.next()
		if to != nil {
			if err := to.conn.Send(frames); err == nil {
				return nil
			}
			o.drop(to)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("send %s: nobody pulls: %w", method, ctxError(ctx))
		}
	}
}

// publish sends to all who want it.
func (o *Outlet) publish(frames [][]byte) {
	o.mu.Lock()
	var to []Conn
	for _, p := range o.outs {
		if slices.ContainsFunc(p.topics, func(topic []byte) bool { return bytes.HasPrefix(frames[0], topic) }) {
			to = append(to, p.conn)
		}
	}
	o.mu.Unlock()
	for _, c := range to {
		_ = c.Send(frames) // if it failed, hold takes the peer out
	}
}

// next is whose turn it is; without anybody, what is closed when one comes.
func (o *Outlet) next() (*out, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.outs) == 0 {
		return nil, o.changed
	}
	o.turn++
	return o.outs[o.turn%len(o.outs)], nil
}

// hold keeps a peer among those that are sent to while it is connected.
func (o *Outlet) hold(_ context.Context, c Conn) error {
	p := &out{conn: c}
	o.mu.Lock()
	o.outs = append(o.outs, p)
	close(o.changed)
	o.changed = make(chan struct{})
	o.mu.Unlock()
	defer o.drop(p)
	for {
		frames, err := c.Recv()
		if err == nil {
			err = o.subscribe(p, frames)
		}
		if err != nil {
			return err
		}
	}
}

// subscribe takes what a subscriber says: 1 and a topic, or 0 to end it. Of
// pullers nothing is expected.
func (o *Outlet) subscribe(p *out, frames [][]byte) error {
	if o.push || len(frames) != 1 || len(frames[0]) == 0 || frames[0][0] > 1 {
		return fmt.Errorf("%w: a message where none is expected", errProtocol)
	}
	on, topic := frames[0][0] == 1, frames[0][1:]
	o.mu.Lock()
	defer o.mu.Unlock()
	if on {
		if len(p.topics) == maxTopics {
			return fmt.Errorf("%w: more than %d subscriptions", errProtocol, maxTopics)
		}
		p.topics = append(p.topics, topic)
		return nil
	}
	if i := slices.IndexFunc(p.topics, func(t []byte) bool { return bytes.Equal(t, topic) }); i >= 0 {
		p.topics = slices.Delete(p.topics, i, i+1)
	}
	return nil
}

// drop takes a peer out; it does nothing when that was done.
func (o *Outlet) drop(p *out) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.outs = slices.DeleteFunc(o.outs, func(q *out) bool { return q == p })
}
