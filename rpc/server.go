package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// incoming is a channel that the peer opened: a call that we serve. The link's
// mutex guards pulse, credits, gone and counted.
type incoming struct {
	link     *Link
	envelope [][]byte // the frames that came before the event, echoed verbatim
	id       []byte   // raw, echoed with the type it came in
	size     int      // bytes of the event
	cancel   context.CancelCauseFunc
	call     Call

	pulse   pulse
	credits int
	more    chan struct{} // one token: credits came; nil until somebody waits
	gone    bool          // closed by either side; nothing may be sent any more
	counted bool          // among the link's calls in progress
}

// open begins to serve a request, or refuses it at once.
func (l *Link) open(ctx context.Context, envelope [][]byte, e event, size int) {
	if strings.HasPrefix(e.name, "_zpc_") {
		return // belongs to no channel
	}
	received := time.Now()
	in := &incoming{link: l, envelope: envelope, id: e.id, size: size, credits: 1}
	call := &in.call
	*call = Call{Method: e.name, Peer: l.conn.Peer(), svc: l.svc, link: l, args: e.args, header: e.header}
	due, err := e.due(received)
	if refused := l.svc.admit(call, e); refused != nil {
		err = refused
	} else if err == nil {
		err = late(due, received)
	}
	if err != nil {
		in.refuse(err)
		return
	}
	ctx, in.cancel = context.WithCancelCause(ctx)
	if err := l.enter(in); err != nil {
		in.cancel(err)
		if l.Err() == nil { // otherwise no answer is the answer
			in.refuse(err)
		}
		return
	}
	go l.serve(ctx, in, due)
}

// admit looks the method up and asks Allow.
func (s *service) admit(call *Call, e event) (err error) {
	var ok bool
	call.method, ok = s.table[e.name]
	switch {
	case e.v < 2:
		return &named{NameUnsupported, "protocol version 2 or 3 is needed"}
	case !ok && s.relay == nil:
		return unknown(e.name)
	case e.argsErr != nil:
		return invalid("%s: arguments: %v", e.name, e.argsErr)
	}
	if s.Allow == nil {
		return nil
	}
	err = s.Allow(call)
	if err != nil && !errors.As(err, new(interface{ ErrorName() string })) {
		err = &named{NameRefused, err.Error()}
	}
	return err
}

// enter counts the call in, or says why there is no room for it.
func (l *Link) enter(in *incoming) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return l.err
	case l.served[string(in.id)] != nil:
		return invalid("this message_id is in use")
	case l.handlers >= l.svc.MaxHandlers:
		return &named{NameBusy, fmt.Sprintf("%d calls in progress on this link", l.handlers)}
	case l.pending > 0 && l.pending+in.size > l.svc.MaxPending:
		return &named{NameBusy, fmt.Sprintf("calls in progress on this link hold %d bytes", l.pending)}
	}
	if held := l.svc.held.Add(int64(in.size)); held > int64(l.svc.MaxHeld) && l.pending+in.size > unheeded {
		l.svc.held.Add(-int64(in.size))
		return &named{NameBusy, fmt.Sprintf("calls in progress on all links hold %d bytes", held-int64(in.size))}
	}
	l.served[string(in.id)] = in
	in.counted = true
	l.handlers++
	l.pending += in.size
	l.enrol(&in.pulse, in, now)
	l.wg.Add(1)
	return nil
}

// serve runs the handler and answers.
func (l *Link) serve(ctx context.Context, in *incoming, due time.Time) {
	defer l.wg.Done()
	defer in.leave()
	defer in.cancel(context.Canceled)
	run := ctx
	if !due.IsZero() {
		var stop context.CancelFunc
		run, stop = context.WithDeadline(ctx, due)
		defer stop()
		if err := late(due, time.Now()); err != nil { // it waited for its turn
			in.answer(ctx, false, nil, err)
			return
		}
	}
	call := &in.call
	if call.Streams() {
		call.send = func(item any) error { return in.send(run, item) }
	}
	call.in = in
	result, err := l.svc.handler(run, call)
	if err == nil && l.svc.relay != nil {
		return // the answer has gone already
	}
	in.answer(ctx, call.Streams(), result, err)
}

// answer sends the last event of the channel. Heartbeats stop before it.
// When the caller has gone it is dropped.
func (in *incoming) answer(ctx context.Context, stream bool, result any, err error) {
	switch {
	case err == nil && stream:
		err = in.final(ctx, eventDone, false, nil)
	case err == nil:
		err = in.final(ctx, eventOK, true, result)
	}
	if err == nil {
		return
	}
	if errors.Is(err, ErrTooLarge) {
		err = &named{NameInvalid, "the result: " + err.Error()}
	}
	t := triple(err)
	_ = in.final(ctx, eventErr, true, t[:]...) // fails only when nobody waits
}

// final is send for the last event: it leaves the channel just before.
func (in *incoming) final(ctx context.Context, name string, list bool, values ...any) error {
	e, err := in.encode(name, list, values...)
	if err != nil {
		return err
	}
	defer in.link.svc.pool.put(e)
	if err := in.spend(ctx); err != nil {
		return err
	}
	open, last := in.leave()
	if !open {
		return ErrClosed
	}
	send := in.link.conn.Send
	if last {
		send = in.link.now
	}
	return in.link.transmit(in.envelope, e, send)
}

// send sends an item when the peer has room for it.
func (in *incoming) send(ctx context.Context, item any) error {
	e, err := in.encode(eventStream, false, item)
	if err != nil {
		return err
	}
	defer in.link.svc.pool.put(e)
	if err := in.spend(ctx); err != nil {
		return err
	}
	return in.link.transmit(in.envelope, e, in.link.conn.Send)
}

// encode makes the event before any credit is spent, so that one that cannot
// be sent costs none. Its args are a list of the values, or else the one. The
// encoder must be put back.
func (in *incoming) encode(name string, list bool, values ...any) (*encoder, error) {
	e := in.link.svc.pool.get()
	err := e.event(&opening{id: in.link.newID(), responseTo: in.id, name: name})
	switch {
	case err != nil:
	case list:
		err = e.list(values...)
	default:
		err = e.value(values[0])
	}
	if err == nil {
		err = e.seal()
	}
	if err != nil {
		in.link.svc.pool.put(e)
		return nil, err
	}
	return e, nil
}

// spend takes one credit, waiting until there is one.
func (in *incoming) spend(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in.link.mu.Lock()
		gone, ok := in.gone, in.credits > 0
		if ok && !gone {
			in.credits--
		}
		if !ok && in.more == nil {
			in.more = make(chan struct{}, 1)
		}
		in.link.mu.Unlock()
		switch {
		case gone:
			return ErrClosed
		case ok:
			return nil
		}
		select {
		case <-in.more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// refuse answers a request that never became a channel.
func (in *incoming) refuse(err error) {
	t := triple(err)
	_ = in.link.emit(in.envelope, in.id, eventErr, t[:]...) // the link is down: nobody waits
}

// address is where heartbeats of this channel go.
func (in *incoming) address() ([][]byte, []byte) { return in.envelope, in.id }

// leave closes the channel and counts the call out. Open is false when the
// channel was closed already; last says that no other call is in progress.
func (in *incoming) leave() (open, last bool) {
	l := in.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.counted {
		in.counted = false
		l.handlers--
		l.pending -= in.size
		l.svc.held.Add(-int64(in.size))
	}
	if in.gone || l.err != nil {
		return false, false
	}
	in.gone = true
	delete(l.served, string(in.id))
	l.wheel.remove(&in.pulse)
	return true, l.handlers == 0
}

// lose ends the channel because the peer has; the mutex is held.
func (in *incoming) lose(err error) {
	in.gone = true
	delete(in.link.served, string(in.id))
	in.cancel(err)
}

// arrive takes an event of the peer on this channel; the mutex is held.
func (in *incoming) arrive(e event) {
	switch e.name {
	case eventMore:
		var few [1][]byte
		values, _ := elements(e.args, few[:0])
		if len(values) == 0 {
			return
		}
		if n, ok := readInt(values[0]); ok && n > 0 {
			in.credits += int(min(n, 1<<20))
			in.credits = min(in.credits, 1<<20)
			select {
			case in.more <- struct{}{}:
			default:
			}
		}
	case eventCancel:
		in.link.wheel.remove(&in.pulse)
		in.lose(context.Canceled)
	}
}
