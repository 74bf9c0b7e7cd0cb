package trace_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"longshore/internal/trace"
	"longshore/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func tracer(tb testing.TB, part string) *trace.Tracer {
	tb.Helper()
	t, err := trace.New(context.Background(), part)
	must(tb, err)
	tb.Cleanup(func() { must(tb, t.Close(context.Background())) })
	return t
}

// outline is the tree as lines of "part name [note] at+length".
func outline(nodes []*trace.Node, indent string) []string {
	var lines []string
	for _, n := range nodes {
		line := fmt.Sprintf("%s%s: %s", indent, n.Part, n.Name)
		if n.Note != "" {
			line += " " + n.Note
		}
		if n.Error != "" {
			line += " !" + n.Error
		}
		line += fmt.Sprintf(" %d+%d", n.At.Milliseconds(), n.Length().Milliseconds())
		lines = append(append(lines, line), outline(n.Children, indent+"  ")...)
	}
	return lines
}

func expect(t *testing.T, spans []trace.Span, want ...string) {
	t.Helper()
	if got := outline(trace.Tree(spans), ""); !reflect.DeepEqual(got, want) {
		t.Errorf("the tree is\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// link serves methods with a tracer and dials them.
func link(t *testing.T, serves *trace.Tracer, methods rpc.Methods, begins ...string) *rpc.Link {
	t.Helper()
	tr := rpc.Memory()
	tr.Messages(func(rpc.Hop) rpc.Fate { return rpc.Fate{Delay: 5 * time.Millisecond} })
	ctx, cancel := context.WithCancel(context.Background())
	l, err := tr.Listen(ctx, "x")
	must(t, err)
	done := make(chan error, 1)
	go func() {
		done <- rpc.Serve(ctx, l, rpc.Config{Identity: "far", Methods: methods, Serve: []func(rpc.Handler) rpc.Handler{serves.Serve(begins...)}})
	}()
	out, err := rpc.Dial(ctx, tr, "x", rpc.Config{Identity: "near", Invoke: []func(rpc.Invoker) rpc.Invoker{trace.Invoke}})
	must(t, err)
	t.Cleanup(func() {
		_ = out.Close()
		out.Wait()
		cancel()
		must(t, <-done)
	})
	return out
}

// TestAcrossALink: one trace over two processes, with clocks that have nothing
// to do with one another, calls that fail, streams, and work that goes on after
// its call.
func TestAcrossALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := tracer(t, "schedctl")
		time.Sleep(time.Hour)
		far := tracer(t, "agent n1")
		later := make(chan struct{})
		l := link(t, far, rpc.Methods{
			"offer": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (any, error) {
				trace.From(ctx).About("ann/web/1.0")
				_ = trace.Run(ctx, "admit", func(context.Context) error { time.Sleep(20 * time.Millisecond); return nil })
				task := trace.From(ctx)
				go func() {
					defer close(later)
					work, place := trace.Start(trace.Into(context.Background(), task), "place")
					time.Sleep(100 * time.Millisecond)
					_, pull := trace.Start(work, "pull")
					pull.Note("12 MB")
					time.Sleep(300 * time.Millisecond)
					pull.End(nil)
					place.End(nil)
					place.End(errors.New("twice")) // of no effect
				}()
				return nil, nil
			}),
			"fail": rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { return nil, errors.New("so") }),
			"flow": {Stream: func(_ context.Context, _ *rpc.Call, send func(any) error) error { return send(1) }},
		})
		ctx, root := near.Under(context.Background(), "", "submit")
		time.Sleep(7 * time.Millisecond)
		must(t, l.Call(ctx, "offer", nil))
		if err := l.Call(ctx, "fail", nil); err == nil {
			t.Error("no error")
		}
		s, err := l.Stream(ctx, "flow")
		must(t, err)
		must(t, s.Next(nil))
		must(t, s.Close())
		root.End(nil)
		<-later
		synctest.Wait()

		id := trace.ID(root.Parent())
		ours, err := near.Spans(id, "")
		must(t, err)
		theirs, err := far.Spans(id, "ann/web/1.0")
		must(t, err)
		expect(t, append(ours, theirs...),
			"schedctl: submit 0+57",
			"  schedctl: offer 7+30",
			"    agent n1: offer 12+20",
			"      agent n1: admit 12+20",
			"      agent n1: place 32+400",
			"        agent n1: pull 12 MB 132+300",
			"  schedctl: fail !RemoteError: so 37+10",
			"    agent n1: fail !so 42+0",
			"  schedctl: flow 47+10",
			"    agent n1: flow 52+0",
		)
		for _, s := range theirs {
			if of := s.Name == "offer" || s.Name == "admit" || s.Name == "place" || s.Name == "pull"; of != (s.About == "ann/web/1.0") {
				t.Errorf("%s is about %q", s.Name, s.About)
			}
		}
		if other, _ := far.Spans(id, "ann/web/2.0"); len(other) != 2 {
			t.Errorf("about another placement: %v", other)
		}
		if got := trace.End(trace.Tree(append(ours, theirs...))); got.Milliseconds() != 432 {
			t.Errorf("it ended after %v", got)
		}
	})
}

// TestUntraced: a call without a trace has none, unless its method begins one.
func TestUntraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := tracer(t, "broadcaster")
		var parent string
		note := rpc.Nullary("", func(ctx context.Context, c *rpc.Call) (any, error) {
			var sent string
			if ok, _ := c.Header("traceparent", &sent); ok {
				t.Errorf("%s was sent %q", c.Method, sent)
			}
			parent = trace.Parent(ctx)
			return nil, nil
		})
		l := link(t, far, rpc.Methods{"beat": note, "submit": note}, "submit")
		must(t, l.Call(context.Background(), "beat", nil))
		if parent != "" {
			t.Errorf("a beat is traced: %s", parent)
		}
		must(t, l.Call(context.Background(), "submit", nil))
		spans, err := far.Spans(trace.ID(parent), "")
		must(t, err)
		expect(t, spans, "broadcaster: submit 0+0")

		ctx, s := trace.Start(context.Background(), "nothing")
		s.About("x")
		s.Note("x")
		s.End(nil)
		if s != nil || trace.Parent(ctx) != "" || trace.Into(ctx, nil) != ctx {
			t.Error("a step without a trace")
		}
		ctx, s = far.Under(ctx, "no traceparent", "first")
		if trace.From(trace.Into(ctx, nil)) != nil {
			t.Error("it is still traced")
		}
		s.End(nil)
		var none *trace.Tracer
		if ctx, s := none.Under(ctx, "", "x"); s != nil || trace.From(ctx) == nil {
			t.Error("a nil tracer traces, or ends a trace")
		}
		if none.Record("p", "x", "", time.Now(), time.Now()) != "p" || none.Close(context.Background()) != nil {
			t.Error("a nil tracer is not silent")
		}
	})
}

// TestForeignParent: the header of another's OpenTelemetry is understood, and
// what is none does no harm.
func TestForeignParent(t *testing.T) {
	far := tracer(t, "broadcaster")
	const foreign = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	_, s := far.Under(context.Background(), foreign, "x")
	if !strings.HasPrefix(s.Parent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-") || s.Parent() == foreign {
		t.Errorf("it belongs to %s", s.Parent())
	}
	s.End(nil)
	for _, bad := range []string{"", "00", "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", strings.Repeat("x", 55), strings.Repeat("0", 1000)} {
		if id := trace.ID(bad); id != "" {
			t.Errorf("%.60q is trace %s", bad, id)
		}
	}
	if _, err := far.Spans("xyz", ""); err == nil {
		t.Error("xyz is a trace")
	}
}

// TestRecord: steps told afterwards, and those that still run.
func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer(t, "broadcaster")
		start := time.Now()
		time.Sleep(time.Second)
		parent := tr.Record("", "wait", "p", start, time.Now())
		if again := tr.Record(parent, "until seen running", "p", time.Now().Add(-200*time.Millisecond), time.Now()); again != parent {
			t.Errorf("further steps belong under %s", again)
		}
		_, open := tr.Under(context.Background(), parent, "look")
		time.Sleep(time.Second)
		spans, err := tr.Spans(trace.ID(parent), "p")
		must(t, err)
		expect(t, spans,
			"broadcaster: wait 0+1000",
			"  broadcaster: until seen running 800+200",
			"  broadcaster: look 1000+1000",
		)
		if !spans[2].Running || spans[0].Running {
			t.Errorf("what runs: %+v", spans)
		}
		open.End(nil)
		if spans, _ = tr.Spans(trace.ID(parent), ""); len(spans) != 3 || spans[2].Running {
			t.Errorf("after its end: %+v", spans)
		}
	})
}

// TestRing: only the newest steps are kept.
func TestRing(t *testing.T) {
	tr := tracer(t, "x")
	ctx, root := tr.Under(context.Background(), "", "root")
	for i := range 10_000 {
		_, s := trace.Start(ctx, fmt.Sprint(i))
		s.End(nil)
	}
	root.End(nil)
	spans, err := tr.Spans(trace.ID(root.Parent()), "")
	must(t, err)
	names := map[string]bool{}
	for _, s := range spans {
		names[s.Name] = true
	}
	if len(spans) != 8192 || !names["root"] || !names["9999"] || names["1808"] || !names["1809"] {
		t.Errorf("%d are kept, root %v", len(spans), names["root"])
	}
}

func TestAdd(t *testing.T) {
	tr := tracer(t, "broadcaster")
	id := strings.Repeat("ab", 16)
	ok := trace.Span{Trace: id, ID: "0011223344556677", Clock: "00", Name: strings.Repeat("n", 1000), Part: "schedctl"}
	must(t, tr.Add([]trace.Span{ok}))
	spans, err := tr.Spans(id, "whatever")
	must(t, err)
	if len(spans) != 1 || len(spans[0].Name) > 210 {
		t.Errorf("%+v", spans)
	}
	bad := ok
	bad.Parent = "no hex"
	if tr.Add([]trace.Span{bad}) == nil || tr.Add(make([]trace.Span, 65)) == nil {
		t.Error("a bad span, or too many, are taken")
	}
}

// TestTree: clocks are never compared across processes.
func TestTree(t *testing.T) {
	span := func(id, parent, clock string, start, took int64) trace.Span {
		return trace.Span{ID: id, Parent: parent, Clock: clock, Name: id, Part: clock, Start: start * 1000, Took: took * 1000}
	}
	for name, c := range map[string]struct {
		spans []trace.Span
		want  []string
	}{
		"in the middle of its call": {
			[]trace.Span{span("a", "", "A", 100, 50), span("b", "a", "B", -9000, 30), span("c", "b", "B", -8990, 100)},
			[]string{"A: a 0+50", "  B: b 10+30", "    B: c 20+100"},
		},
		"longer than its call": {
			[]trace.Span{span("a", "", "A", 0, 10), span("b", "a", "B", 500, 30)},
			[]string{"A: a 0+10", "  B: b 0+30"},
		},
		"two calls to one process": {
			[]trace.Span{span("a", "", "A", 0, 100), span("y", "x", "B", 70, 10), span("x", "a", "A", 60, 20), span("c", "a", "B", 1, 90)},
			[]string{"A: a 0+100", "  B: c 5+90", "  A: x 60+20", "    B: y 65+10"},
		},
		"the beginning is lost": {
			[]trace.Span{span("b", "?", "B", 5, 10), span("d", "?", "C", 900, 10), span("c", "?2", "B", 25, 10), span("c", "?2", "B", 25, 10)},
			[]string{"B: b 0+10", "B: c 20+10", "C: d 0+10"},
		},
		"a circle": {[]trace.Span{span("a", "b", "A", 0, 1), span("b", "a", "A", 0, 1), span("c", "c", "A", 0, 1)}, []string{"A: c 0+1"}},
		"nothing":  {nil, nil},
	} {
		t.Run(name, func(t *testing.T) { expect(t, c.spans, c.want...) })
	}
}

// TestExport: where the standard variable names a collector, it is sent what
// was traced.
func TestExport(t *testing.T) {
	got := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		got <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tr, err := trace.New(context.Background(), "agent n7")
	must(t, err)
	_, s := tr.Under(context.Background(), "", "a step to export")
	s.About("ann/web/1.0")
	s.End(nil)
	must(t, tr.Close(context.Background()))
	select {
	case body := <-got:
		for _, part := range []string{"/v1/traces ", "a step to export", "ann/web/1.0", "longshore-agent", "n7"} {
			if !strings.Contains(body, part) {
				t.Errorf("%q is not in what was exported: %q", part, body)
			}
		}
	default:
		t.Error("nothing was exported")
	}
}

func BenchmarkStep(b *testing.B) {
	tr := tracer(b, "x")
	ctx, root := tr.Under(context.Background(), "", "root")
	defer root.End(nil)
	b.ReportAllocs()
	for b.Loop() {
		_, s := trace.Start(ctx, "step")
		s.End(nil)
	}
}
