package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"longshore/broadcaster"
	"longshore/internal/trace"
	"longshore/rpc"
)

func (a *app) trace() *cobra.Command {
	return &cobra.Command{
		Use:   "trace APP/SERVICE/N",
		Short: "Show where the time went on a replica's way into a container",
		Long: `Trace shows the steps of a replica's last way to a node, from submit until it was
seen running, with the milliseconds at which each began and that it took. Each
process keeps its last steps in memory, and schedctl puts them together: no
collector is needed.

Times of one machine are exact. The clocks of two machines are never compared:
what one does for a call of the other is shown in the middle of that call.

With $TRACEPARENT (W3C) set, submit belongs to that trace. With the standard
$OTEL_EXPORTER_OTLP_ENDPOINT set for a process, it exports its steps too.`,
		Example: "  schedctl trace site/web/1\n  schedctl trace site/web/1 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.replicaFilter(args[0])
			if err != nil {
				return err
			}
			var t broadcaster.Traced
			if err := a.call(cmd.Context(), "trace", &t, f.Replica); err != nil {
				return a.hint(cmd.Context(), f, err)
			}
			a.traced(t)
			return nil
		},
	}
}

// step is one line of a trace in JSON.
type step struct {
	Depth int   `json:"depth"`
	At    int64 `json:"at_us"` // since the first step began
	trace.Span
}

func (a *app) traced(t broadcaster.Traced) {
	roots := trace.Tree(t.Spans)
	all := trace.End(roots)
	if !a.json {
		fmt.Fprintf(a.stdout, "%s: %s; trace %s, %s ms\n", t.Replica, t.State.Word(), t.Trace, millis(all))
		fmt.Fprintf(a.stdout, "%9s %9s\n", "at ms", "took ms")
	}
	for _, n := range roots {
		a.steps(n, 0, all)
	}
	if len(t.Missing) > 0 && !a.json {
		fmt.Fprintf(a.stdout, "not answering, so without their steps: %v\n", t.Missing)
	}
}

func (a *app) steps(n *trace.Node, depth int, all time.Duration) {
	if a.json {
		a.object(step{Depth: depth, At: n.At.Microseconds(), Span: n.Span})
	} else {
		line := fmt.Sprintf("%9s %9s  %s  %-14s %s%s", millis(n.At), millis(n.Length()), bar(n.At, n.Length(), all), n.Part, strings.Repeat("  ", depth), label(n.Span))
		fmt.Fprintln(a.stdout, strings.TrimRight(line, " "))
	}
	for _, c := range n.Children {
		a.steps(c, depth+1, all)
	}
}

// label says what a step is and how it went.
func label(s trace.Span) string {
	text := s.Name
	if s.Calls {
		text = "call " + text
	}
	if s.To != "" {
		text += " to " + s.To
	}
	if s.Note != "" {
		text += ": " + s.Note
	}
	if s.Error != "" {
		text += " FAILED: " + strings.ReplaceAll(s.Error, "\n", " ")
	}
	if s.Running {
		text += " (still at it)"
	}
	return text
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

// bar shows when a step was, as a part of all.
func bar(at, took, all time.Duration) string {
	const width = 30
	if all <= 0 {
		return strings.Repeat(" ", width)
	}
	column := func(t time.Duration) int { return int(min(max(0, int64(t)*width/int64(all)), width)) }
	from := min(column(at), width-1)
	n := max(1, column(at+took)-from)
	return strings.Repeat(" ", from) + strings.Repeat("=", n) + strings.Repeat(" ", width-from-n)
}

// beginTrace begins the trace of a command, or a step of the one that
// $TRACEPARENT names.
func beginTrace(ctx context.Context, name string) (context.Context, *trace.Tracer, error) {
	t, err := trace.New(ctx, "schedctl")
	if err != nil {
		return ctx, nil, err
	}
	ctx, _ = t.Under(ctx, os.Getenv("TRACEPARENT"), name)
	return ctx, t, nil
}

// leaveSpans ends the command's step and leaves its steps with the broadcaster,
// since we shall not be there to be asked. Nothing depends on it.
func leaveSpans(ctx context.Context, link *rpc.Link, t *trace.Tracer, err error) {
	root := trace.From(ctx)
	root.End(err)
	spans, bad := t.Spans(trace.ID(root.Parent()), "")
	if bad != nil {
		return
	}
	bounded, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_ = link.Call(bounded, "spans_add", nil, spans)
}
