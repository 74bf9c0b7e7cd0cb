package trace

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Step is one piece of work under way. A nil Step is one that nobody traces;
// all its methods may be called.
type Step struct {
	t     *Tracer
	span  oteltrace.Span
	about string
}

type stepKey struct{}

// From is the step that ctx belongs to; nil if it is not traced.
func From(ctx context.Context) *Step {
	s, _ := ctx.Value(stepKey{}).(*Step)
	return s
}

// Into is ctx within the step: what is started there is part of it, also when
// the step has ended. A nil Step makes ctx untraced.
func Into(ctx context.Context, s *Step) context.Context {
	if s == nil && From(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, stepKey{}, s)
}

// Start begins a step of the work that ctx belongs to; nothing if it is not
// traced. The caller ends it.
func Start(ctx context.Context, name string) (context.Context, *Step) {
	return From(ctx).start(ctx, name, oteltrace.SpanKindInternal)
}

func (s *Step) start(ctx context.Context, name string, kind oteltrace.SpanKind) (context.Context, *Step) {
	if s == nil {
		return ctx, nil
	}
	return s.t.begin(ctx, s.span.SpanContext(), name, s.about, oteltrace.WithSpanKind(kind))
}

// Run is f as a step of the work that ctx belongs to.
func Run(ctx context.Context, name string, f func(ctx context.Context) error) error {
	ctx, s := Start(ctx, name)
	err := f(ctx)
	s.End(err)
	return err
}

// About says which placement the step, and every step begun in it from now on,
// is for. It must be called before those are.
func (s *Step) About(id string) {
	if s == nil {
		return
	}
	s.about = id
	s.span.SetAttributes(attribute.String(keyAbout, id))
}

// Note says in a few words what people should know of the step: which node,
// how it went. Once more replaces it.
func (s *Step) Note(text string) {
	if s != nil {
		s.span.SetAttributes(attribute.String(keyNote, text))
	}
}

// End ends the step, well or with an error. Further calls do nothing.
func (s *Step) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Parent names the step that ctx belongs to, as W3C traceparent, for
// [Tracer.Under]; "" if it is not traced.
func Parent(ctx context.Context) string { return From(ctx).Parent() }

// Parent names the step as W3C traceparent; "" of nil.
func (s *Step) Parent() string {
	if s == nil {
		return ""
	}
	sc := s.span.SpanContext()
	return fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
}

// ID is the trace's ID in a W3C traceparent, 32 hex digits; "" of one that is
// none.
func ID(parent string) string {
	if sc := parse(parent); sc.IsValid() {
		return sc.TraceID().String()
	}
	return ""
}

// parse reads a W3C traceparent, version-trace-span-flags in hex; what is none
// is not valid. Later versions may have more after the flags.
func parse(parent string) oteltrace.SpanContext {
	parts := strings.SplitN(parent, "-", 5)
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[3]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) > 4 {
		return oteltrace.SpanContext{}
	}
	trace, badTrace := oteltrace.TraceIDFromHex(parts[1])
	span, badSpan := oteltrace.SpanIDFromHex(parts[2])
	if badTrace != nil || badSpan != nil {
		return oteltrace.SpanContext{}
	}
	return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: trace, SpanID: span, TraceFlags: oteltrace.FlagsSampled, Remote: true})
}
