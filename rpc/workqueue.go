package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// WorkQueue hands each call of its clients to a worker that is idle, and the
// caller waits, in order, while there is none. The worker keeps the call to
// its end: items of a stream, credits, heartbeats and cancellation all go that
// way, for each side has a channel of its own with the queue. A worker is idle
// while it has no call of the queue.
//
// It serves the workers' methods, built-in ones included, and knows none of
// its own. A call whose worker is lost fails with "LostRemote": it may have
// run, so it is not tried again.
type WorkQueue struct {
	mu      sync.Mutex
	idle    []*Link
	waiting []chan *Link // of room 1, those who came first in front
}

// Worker lets l work until ctx, which must end with the link, has ended. It is
// made to be [Config.OnLink] of a Serve that workers dial, and to be called by
// a Keep that dials a worker.
//
// Stock services that connect to the queue need a listener with the socket
// DEALER, which our own workers can dial, too.
func (q *WorkQueue) Worker(ctx context.Context, l *Link) {
	q.free(l)
	<-ctx.Done()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle = slices.DeleteFunc(q.idle, func(w *Link) bool { return w == l })
}

// Serve serves clients until ctx ends, as [Serve] does. cfg.Methods must be
// empty.
func (q *WorkQueue) Serve(ctx context.Context, l Listener, cfg Config) error {
	if len(cfg.Methods) > 0 {
		return errors.Join(errors.New("rpc: a work queue has no methods of its own"), l.Close())
	}
	s, err := newService(cfg)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.table, s.relay = nil, q.relay
	return s.attach(ctx, l, s.attend)
}

// take waits for an idle worker.
func (q *WorkQueue) take(ctx context.Context) (*Link, error) {
	q.mu.Lock()
	if n := len(q.idle); n > 0 {
		l := q.idle[0] // who rested longest
		q.idle = slices.Delete(q.idle, 0, 1)
		q.mu.Unlock()
		return l, nil
	}
	turn := make(chan *Link, 1)
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()
	select {
	case l := <-turn:
		return l, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.waiting = slices.DeleteFunc(q.waiting, func(c chan *Link) bool { return c == turn })
	q.mu.Unlock()
	select {
	case l := <-turn: // it came at the same moment
		q.free(l)
	default:
	}
	return nil, context.Cause(ctx)
}

// free gives a worker to who waits longest, or lets it rest. One that is down
// is forgotten.
func (q *WorkQueue) free(l *Link) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.Err() != nil {
		return
	}
	if len(q.waiting) > 0 {
		q.waiting[0] <- l
		q.waiting = slices.Delete(q.waiting, 0, 1)
		return
	}
	q.idle = append(q.idle, l)
}

// relay serves one call by a worker.
func (q *WorkQueue) relay(ctx context.Context, in *incoming) error {
	for {
		worker, err := q.take(ctx)
		if err != nil {
			return err
		}
		c, err := worker.forward(ctx, &in.call)
		if err != nil && worker.Err() != nil {
			continue // it went before it was asked
		}
		if err == nil {
			err = c.relay(ctx, in)
		}
		q.free(worker)
		return err
	}
}

// forward sends a call on, with its extra header keys and what is left of its
// time.
func (l *Link) forward(ctx context.Context, call *Call) (*outgoing, error) {
	values, ok := elements(call.args, nil)
	if !ok && (len(call.args) == 0 || call.args[0] != codeNil) {
		return nil, invalid("%s: the arguments are no list", call.Method)
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = msgpack.RawMessage(v)
	}
	extras, err := extraKeys(call.header)
	if err != nil {
		return nil, err
	}
	return l.request(ctx, call.Method, args, extras)
}

// extraKeys are those of a header that are not the protocol's.
func extraKeys(header []byte) (extras []extra, err error) {
	h, err := readHead(header, 0)
	if err != nil {
		return nil, err
	}
	pos := h.end
	for range h.children / 2 {
		k, err := readHead(header, pos)
		if err != nil {
			return nil, err
		}
		value, err := skip(header, k.end)
		if err != nil {
			return nil, err
		}
		if key := string(header[k.data:k.end]); !reserved(key) && key != keyMoment && len(extras) < maxExtra {
			extras = append(extras, extra{key, msgpack.RawMessage(header[k.end:value])})
		}
		pos = value
	}
	return extras, nil
}

// relay answers in with what comes on c.
func (c *outgoing) relay(ctx context.Context, in *incoming) error {
	s := &Stream{c: c, stop: context.AfterFunc(ctx, func() { c.abandon(ctxError(ctx), true) })}
	defer s.Close()
	for {
		e, err := s.event()
		switch {
		case err != nil:
			return fmt.Errorf("worker: %w", err)
		case e.argsErr != nil:
			return fmt.Errorf("worker: %w", e.argsErr)
		case e.name == eventStream:
			if err := in.send(ctx, msgpack.RawMessage(e.args)); err != nil {
				return err
			}
		case e.name == eventDone:
			return in.final(ctx, eventDone, false, nil)
		default:
			return in.final(ctx, e.name, false, msgpack.RawMessage(e.args))
		}
	}
}
