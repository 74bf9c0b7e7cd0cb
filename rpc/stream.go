package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// Stream is a sequence of items that the other end sends. One goroutine at a
// time may call Next; Close may come from any.
type Stream struct {
	c      *outgoing
	stop   func() bool // unhooks the context
	begun  bool
	single bool
	once   sync.Once
	over   func(err error) // called at the end, if set
}

// Items is what the stream has from now on, for a range loop: each item, or at
// last the error that ended it. A stream whose method has returned ends the loop
// without one. Close the stream all the same.
func Items[T any](s *Stream) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			var item T
			err := s.Next(&item)
			if errors.Is(err, io.EOF) || !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// ended tells, once, how the stream ended.
func (s *Stream) ended(err error) {
	if s.over == nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.once.Do(func() { s.over(err) })
}

// Stream calls a method that sends items. It returns as soon as the request is
// sent. When ctx ends, so does the stream, and the remote handler at once; a
// deadline of ctx bounds the whole stream. Close it when done.
func (l *Link) Stream(ctx context.Context, method string, args ...any) (*Stream, error) {
	if l.svc.invoker == nil {
		return l.stream(ctx, method, args, nil)
	}
	r := &Request{Method: method, Args: args, Streams: true, link: l}
	if err := l.invoke(ctx, r); err != nil {
		return nil, err
	}
	return r.stream, nil
}

func (l *Link) stream(ctx context.Context, method string, args []any, extra []extra) (*Stream, error) {
	c, err := l.request(ctx, method, args, extra)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", method, err)
	}
	stop := context.AfterFunc(ctx, func() { c.abandon(ctxError(ctx), true) })
	return &Stream{c: c, stop: stop}, nil
}

// Next blocks until there is an item and stores it in into, unless that is
// nil. It returns io.EOF when the method has returned, its error as a
// *RemoteError, and the same again when called again. Not calling it makes the
// method wait: it is at most 100 items ahead. Of a method that sends no items
// it stores the one result; see Single.
func (s *Stream) Next(into any) error {
	e, err := s.event()
	if err == nil {
		return s.item(e, into)
	}
	if errors.Is(err, io.EOF) || errors.As(err, new(*RemoteError)) {
		return err
	}
	s.ended(err)
	return fmt.Errorf("stream %s: %w", s.c.method, err)
}

// event blocks until there is one.
func (s *Stream) event() (event, error) {
	s.ask()
	for {
		e, ok, err := s.c.take()
		if ok || err != nil {
			return e, err
		}
		<-s.c.ready
	}
}

// ask gives the peer new credit from the second item on, when it has used
// half: that is how stock clients do it.
func (s *Stream) ask() {
	if !s.begun {
		s.begun = true
		return
	}
	l := s.c.link
	l.mu.Lock()
	n := l.svc.Slots - s.c.credit
	more := !s.c.ended && s.c.credit < l.svc.Slots/2+l.svc.Slots%2
	if more {
		s.c.credit += n
	}
	l.mu.Unlock()
	if more {
		envelope, id := s.c.address()
		_ = l.emit(envelope, id, eventMore, n) // if the link is down, take says so
	}
}

// item decodes one event of the stream.
func (s *Stream) item(e event, into any) error {
	if e.name == eventStream {
		err := e.argsErr
		if err == nil {
			err = s.c.link.svc.plans.unmarshal(e.args, into)
		}
		if err != nil {
			return fmt.Errorf("stream %s: item: %w", s.c.method, err)
		}
		return nil
	}
	err := io.EOF
	switch e.name {
	case eventDone:
	case eventOK:
		if failed := s.c.result(e, into); failed != nil {
			err = failed
		} else {
			s.single = true
		}
	default:
		err = s.c.failure(e)
	}
	s.stop()
	s.c.abandon(err, false)
	s.ended(err)
	if s.single {
		return nil // the next Next ends it
	}
	return err
}

// Single is whether the method turned out to send no items but to return one
// result, which Next has stored as if it were an item.
func (s *Stream) Single() bool { return s.single }

// Close ends the stream; the remote handler's context ends at once. Next then
// fails with ErrClosed. Further calls do nothing. The error is always nil.
func (s *Stream) Close() error {
	s.stop()
	s.c.abandon(ErrClosed, true)
	s.ended(ErrClosed)
	return nil
}
