package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errProtocol is the root of what a peer's answer should not have been.
var errProtocol = errors.New("rpc: peer broke the protocol")

// outgoing is a channel that we opened: one call, or one stream. The link's
// mutex guards it.
type outgoing struct {
	link   *Link
	id     string
	method string
	pulse  pulse

	queue  []event       // arrived, not yet taken
	first  [1]event      // room for the one that most channels get
	ready  chan struct{} // one token: something changed; nil in a group
	group  chan<- int    // is told index, once, when there is an answer or an error
	index  int
	told   bool
	ended  bool  // the last event arrived, or err is set
	err    error // why nothing more will arrive
	credit int   // items the peer may send that we have not taken yet
}

// request opens a channel and sends the call.
func (l *Link) request(ctx context.Context, method string, args []any, extra []extra) (*outgoing, error) {
	id := l.newID()
	e := l.svc.pool.get()
	defer l.svc.pool.put(e)
	if err := e.call(ctx, id, method, args, extra); err != nil {
		return nil, err
	}
	c := &outgoing{link: l, id: string(id[:]), method: method, ready: make(chan struct{}, 1)}
	return c, c.open(e)
}

// call makes the event that opens a channel.
func (e *encoder) call(ctx context.Context, id [idSize]byte, method string, args []any, extra []extra) error {
	if ctx.Err() != nil {
		return ctxError(ctx)
	}
	var left int64
	if d, ok := ctx.Deadline(); ok {
		left = max(1, time.Until(d).Milliseconds())
	}
	err := e.event(&opening{id: id, deadline: left, extra: extra, name: method})
	if err == nil {
		err = e.list(args...)
	}
	if err == nil {
		err = e.seal()
	}
	return err
}

// bare is the envelope of what a DEALER sends.
var bare = [][]byte{nil}

// open sends the call in e.
func (c *outgoing) open(e *encoder) error {
	l := c.link
	c.credit = 1
	c.queue = c.first[:0]
	now := time.Now()
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return l.err
	}
	l.calls[c.id] = c
	l.enrol(&c.pulse, c, now)
	send := l.now
	if len(l.calls) > 1 {
		send = l.conn.Send // others do so, too: they share a write
	}
	l.mu.Unlock()
	if err := l.transmit(bare, e, send); err != nil {
		c.abandon(err, false)
		return err
	}
	return nil
}

// address is where heartbeats and the like of this channel go.
func (c *outgoing) address() ([][]byte, []byte) {
	raw := make([]byte, 0, 2+len(c.id))
	raw = append(raw, 0xc4, byte(len(c.id)))
	return bare, append(raw, c.id...)
}

// lose ends the channel; the mutex is held.
func (c *outgoing) lose(err error) {
	delete(c.link.calls, c.id)
	c.end(err)
}

// end marks the channel as over; the mutex is held.
func (c *outgoing) end(err error) {
	if !c.ended {
		c.ended, c.err = true, err
		c.signal()
	}
}

func (c *outgoing) signal() {
	if c.group != nil {
		if !c.told {
			c.told = true
			c.group <- c.index // there is room for all
		}
		return
	}
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// arrive takes one event of the peer; the mutex is held.
func (c *outgoing) arrive(e event) {
	switch e.name {
	case eventBeat, eventMore, eventCancel:
		return // a client sends no stream, so it needs no credit
	}
	if len(c.queue) > c.link.svc.Slots {
		c.link.wheel.remove(&c.pulse)
		c.lose(fmt.Errorf("%w: it sends more than it may", errProtocol))
		return
	}
	c.queue = append(c.queue, e)
	if e.name != eventStream {
		delete(c.link.calls, c.id)
		c.link.wheel.remove(&c.pulse)
		c.ended = true
	}
	c.signal()
}

// abandon ends the channel from our side: nothing queued will be taken. With
// tell, the peer's handler is cancelled at once.
func (c *outgoing) abandon(err error, tell bool) {
	c.link.mu.Lock()
	open := !c.ended
	if open {
		delete(c.link.calls, c.id)
		c.link.wheel.remove(&c.pulse)
		c.end(err)
	}
	if c.err == nil {
		c.err = err
	}
	c.queue = nil
	c.link.mu.Unlock()
	if open && tell {
		envelope, id := c.address()
		_ = c.link.emit(envelope, id, eventCancel) // the link is down: so is the handler
	}
}

// take returns the next event, or why there is none. ok is false when it must
// be waited for.
func (c *outgoing) take() (e event, ok bool, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if len(c.queue) > 0 {
		e, c.queue = c.queue[0], c.queue[1:]
		c.credit--
		return e, true, nil
	}
	return event{}, false, c.err
}

// Call calls method of the other end and stores what it returns in result,
// unless that is nil. An error of the method is a *RemoteError. When ctx ends,
// the remote handler's context ends too, at once; its deadline travels along.
// There is no other time limit than that of heartbeats: a peer that is alive
// may take its time. After an ErrLostRemote or a timeout the method may have
// run or not.
func (l *Link) Call(ctx context.Context, method string, result any, args ...any) error {
	if l.svc.invoker == nil {
		return l.call(ctx, method, result, args, nil)
	}
	return l.invoke(ctx, &Request{Method: method, Args: args, Into: result, link: l})
}

func (l *Link) call(ctx context.Context, method string, result any, args []any, more []extra) error {
	if key, ok := ctx.Value(onceContext{}).(string); ok {
		more = append(slices.Clip(more), extra{keyOnce, key})
	}
	c, err := l.request(ctx, method, args, more)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	for {
		e, ok, err := c.take()
		switch {
		case err != nil:
			return fmt.Errorf("call %s: %w", method, err)
		case ok:
			defer c.abandon(ErrClosed, true) // of no effect, unless it streams
			return c.result(e, result)
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			err := ctxError(ctx)
			c.abandon(err, true)
			return fmt.Errorf("call %s: %w", method, err)
		}
	}
}

// result decodes the answer of a call.
func (c *outgoing) result(e event, into any) error {
	if e.name != eventOK {
		return c.failure(e)
	}
	if e.argsErr != nil {
		return fmt.Errorf("call %s: result: %w", c.method, e.argsErr)
	}
	var few [1][]byte
	values, ok := elements(e.args, few[:0])
	if !ok || len(values) != 1 {
		return fmt.Errorf("call %s: %w: OK without exactly one result", c.method, errProtocol)
	}
	if err := c.link.svc.plans.unmarshal(values[0], into); err != nil {
		return fmt.Errorf("call %s: result: %w", c.method, err)
	}
	return nil
}

// failure is the error that an event other than the hoped for means.
func (c *outgoing) failure(e event) error {
	if e.name != eventErr {
		return fmt.Errorf("call %s: %w: it answered %.40q", c.method, errProtocol, e.name)
	}
	if e.argsErr != nil {
		return fmt.Errorf("call %s: error: %w", c.method, e.argsErr)
	}
	var remote RemoteError
	values, _ := elements(e.args, nil)
	if len(values) == 1 { // of protocol version 1
		remote.Name = NameOther
		_ = c.link.svc.plans.unmarshal(values[0], &remote.Message)
		return &remote
	}
	for i, into := range []*string{&remote.Name, &remote.Message, &remote.Traceback} {
		if i < len(values) {
			_ = c.link.svc.plans.unmarshal(values[i], into) // what is no text stays empty
		}
	}
	return &remote
}
