package trace

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"longshore/rpc"
)

// headerParent is the header key that carries the W3C traceparent.
const headerParent = "traceparent"

// Serve is a middleware for [rpc.Config]: a call whose caller traces it is a
// step here too. A call of one of the methods named begins a trace when its
// caller has none.
func (t *Tracer) Serve(begins ...string) func(rpc.Handler) rpc.Handler {
	return func(next rpc.Handler) rpc.Handler {
		if t == nil {
			return next
		}
		return func(ctx context.Context, c *rpc.Call) (any, error) {
			var parent string
			if _, err := c.Header(headerParent, &parent); err != nil {
				parent = "" // of somebody else's making
			}
			above := parse(parent)
			if !above.IsValid() && !slices.Contains(begins, c.Method) {
				return next(ctx, c)
			}
			ctx, s := t.begin(ctx, above, c.Method, "", trace.WithSpanKind(trace.SpanKindServer))
			result, err := next(ctx, c)
			s.End(err)
			return result, err
		}
	}
}

// Invoke is a middleware for [rpc.Config]: a call that is made in a step is a
// step itself, and its header says so.
func Invoke(next rpc.Invoker) rpc.Invoker {
	return func(ctx context.Context, r *rpc.Request) error {
		ctx, s := From(ctx).start(ctx, r.Method, trace.SpanKindClient)
		if s == nil {
			return next(ctx, r)
		}
		if peer := r.Link().Peer(); peer.Name != "" {
			s.span.SetAttributes(attribute.String(keyTo, peer.Name))
		}
		r.Set(headerParent, s.Parent())
		r.OnEnd(func(err error) {
			switch {
			case r.Streams && errors.Is(err, rpc.ErrClosed):
				err = nil // we had enough of it
			case errors.Is(err, context.Canceled):
				s.Note("called back")
				err = nil
			}
			s.End(err)
		})
		return next(ctx, r)
	}
}

// Spans is what this process keeps of a trace, its ID in hex: all of it, or
// what is about one placement and about none in particular.
func (t *Tracer) Spans(id, about string) ([]Span, error) {
	if t == nil {
		return []Span{}, nil
	}
	of, err := trace.TraceIDFromHex(id)
	if err != nil {
		return nil, fmt.Errorf("%.64q is no trace: %w", id, err)
	}
	return append(t.ring.spans(of, about), t.guests.spans(id, about)...), nil
}

// Methods is what a process serves of its steps.
func (t *Tracer) Methods() rpc.Methods {
	return rpc.Methods{
		"spans": rpc.Method{
			Doc:  "List what this process keeps of a trace, by its ID in hex; with a placement, what is about it or about none.",
			Args: []string{"trace", "placement"},
			Call: func(_ context.Context, c *rpc.Call) (any, error) {
				var id, about string
				if err := c.Decode(&id, &about); err != nil {
					return nil, err
				}
				return t.Spans(id, about)
			},
		}.Optional(""),
	}
}

// Add takes in the steps of a process that will not be there to be asked, such
// as schedctl: 64 at most, and the last 4096 in all. They are only shown.
func (t *Tracer) Add(spans []Span) error {
	if len(spans) > maxAdd {
		return fmt.Errorf("%d spans at once, at most %d", len(spans), maxAdd)
	}
	for i := range spans {
		s := &spans[i]
		for _, id := range []string{s.Trace, s.ID, s.Parent, s.Clock} {
			if b, err := hex.DecodeString(id); err != nil || len(b) > 16 {
				return fmt.Errorf("span %d: %.64q is no ID", i+1, id)
			}
		}
		for _, text := range []*string{&s.Name, &s.Part, &s.About, &s.To, &s.Note, &s.Error} {
			*text = short(*text)
		}
	}
	if t != nil {
		t.guests.add(spans)
	}
	return nil
}
