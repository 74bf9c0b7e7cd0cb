package trace

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Bounds of what a process keeps: some 200 bytes for each step.
const (
	maxKept    = 8192
	maxRunning = 8192
	maxText    = 200 // bytes of a note or an error
)

// Span is a step as it is told to others.
type Span struct {
	Trace  string `json:"trace"`            // 32 hex digits
	ID     string `json:"id"`               // 16 hex digits
	Parent string `json:"parent,omitempty"` // the step that it is part of; "" the first of its trace
	Name   string `json:"name"`
	Part   string `json:"part"`            // the process: "agent n7"
	Clock  string `json:"clock"`           // which clock Start is on: never compare across two
	Start  int64  `json:"start_us"`        // microseconds, may be negative
	Took   int64  `json:"took_us"`         // microseconds; so far, of one that runs
	About  string `json:"about,omitempty"` // the placement
	Note   string `json:"note,omitempty"`
	Error  string `json:"error,omitempty"`

	Running bool   `json:"running,omitempty"`
	Calls   bool   `json:"calls,omitempty"` // it is a call to another process
	To      string `json:"to,omitempty"`    // by which name that is known
}

// kept is a step that has ended.
type kept struct {
	trace                 oteltrace.TraceID
	id, parent            oteltrace.SpanID
	name, about, note, to string
	failure               string
	start, took           time.Duration
	calls                 bool
	running               bool
}

// ring is the last steps of a process and those that are under way. It is a
// processor of the OpenTelemetry SDK.
type ring struct {
	part  string
	clock string
	zero  time.Time

	mu      sync.Mutex
	done    []kept
	next    int // where the next goes once done is full
	running map[oteltrace.SpanID]sdktrace.ReadOnlySpan
}

func newRing(part string, zero time.Time) *ring {
	return &ring{
		part: part, clock: fmt.Sprintf("%016x", rand.Uint64()), zero: zero,
		running: map[oteltrace.SpanID]sdktrace.ReadOnlySpan{},
	}
}

// OnStart notes a step that has begun.
func (r *ring) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.running) < maxRunning {
		r.running[s.SpanContext().SpanID()] = s
	}
}

// OnEnd keeps a step that has ended.
func (r *ring) OnEnd(s sdktrace.ReadOnlySpan) {
	k := r.keep(s, s.EndTime())
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, k.id)
	if len(r.done) < maxKept {
		r.done = append(r.done, k)
		return
	}
	r.done[r.next] = k
	r.next = (r.next + 1) % maxKept
}

// Shutdown has nothing to do.
func (r *ring) Shutdown(context.Context) error { return nil }

// ForceFlush has nothing to do.
func (r *ring) ForceFlush(context.Context) error { return nil }

func (r *ring) keep(s sdktrace.ReadOnlySpan, end time.Time) kept {
	k := kept{
		trace: s.SpanContext().TraceID(), id: s.SpanContext().SpanID(), parent: s.Parent().SpanID(), name: s.Name(),
		start: s.StartTime().Sub(r.zero), took: end.Sub(s.StartTime()),
		calls: s.SpanKind() == oteltrace.SpanKindClient,
	}
	for _, a := range s.Attributes() {
		switch a.Key {
		case keyAbout:
			k.about = a.Value.AsString()
		case keyNote:
			k.note = short(a.Value.AsString())
		case keyTo:
			k.to = short(a.Value.AsString())
		}
	}
	if status := s.Status(); status.Code == codes.Error {
		k.failure = short(cmp.Or(status.Description, "failed"))
	}
	return k
}

func short(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// spans are the steps of a trace, those under way too, in the order of their
// starts: all of them, or those about one placement or none in particular.
func (r *ring) spans(trace oteltrace.TraceID, about string) []Span {
	now := time.Now()
	r.mu.Lock()
	var found []kept
	for _, k := range r.done {
		if k.trace == trace {
			found = append(found, k)
		}
	}
	var running []sdktrace.ReadOnlySpan
	for _, s := range r.running {
		if s.SpanContext().TraceID() == trace {
			running = append(running, s)
		}
	}
	r.mu.Unlock()
	for _, s := range running { // outside of the lock, for a step has one of its own
		k := r.keep(s, now)
		k.running = true
		found = append(found, k)
	}
	found = slices.DeleteFunc(found, func(k kept) bool { return about != "" && k.about != "" && k.about != about })
	slices.SortFunc(found, func(a, b kept) int {
		return cmp.Or(cmp.Compare(a.start, b.start), slices.Compare(a.id[:], b.id[:]))
	})
	list := make([]Span, len(found))
	for i, k := range found {
		list[i] = r.tell(k)
	}
	return list
}

func (r *ring) tell(k kept) Span {
	s := Span{
		Trace: k.trace.String(), ID: k.id.String(), Name: k.name, Part: r.part, Clock: r.clock,
		Start: k.start.Microseconds(), Took: k.took.Microseconds(),
		About: k.about, Note: k.note, Error: k.failure, Running: k.running, Calls: k.calls, To: k.to,
	}
	if k.parent.IsValid() {
		s.Parent = k.parent.String()
	}
	return s
}
