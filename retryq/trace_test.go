package retryq_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/retryq"
)

// steps are what the tracer has about a replica's last trace: name, and
// seconds.
func (w *world) steps(tr *trace.Tracer, s placement.Status) []string {
	w.t.Helper()
	spans, err := tr.Spans(s.Trace, string(s.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	var steps []string
	for _, s := range spans {
		steps = append(steps, s.Name+" "+(time.Duration(s.Took)*time.Microsecond).String())
	}
	return steps
}

// TestTrace: what a submit puts into the queue belongs to its trace until it is
// seen running, over its tries; what comes later begins a trace of its own.
func TestTrace(t *testing.T) {
	tr, err := trace.New(context.Background(), "broadcaster")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tr.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	onBoth(t, func(w *world) {
		w.stop()
		w.change = func(c *retryq.Config) { c.Trace = tr }
		w.start()
		n := w.node("n1")
		n.register()
		n.openLink()
		n.list()
		ctx, root := tr.Under(w.t.Context(), "", "submit")
		time.Sleep(time.Second)
		if _, err := w.l.Submit(ctx, app(1)); err != nil {
			t.Fatal(err)
		}
		root.End(nil)

		time.Sleep(3 * time.Second)
		try := w.mustNext()
		if try.Trace != root.Parent() {
			t.Errorf("the try is part of %s, not of %s", try.Trace, root.Parent())
		}
		time.Sleep(time.Second)
		w.l.Settle(try, placement.Outcome{Asked: 1}) // nobody took it
		waited := time.Now()
		again := w.mustNext()
		backoff := time.Since(waited)
		w.l.Settle(again, placement.Outcome{Taken: "n1", Asked: 1})
		if a := n.bind(again); a.Verdict != placement.VerdictYes {
			t.Fatalf("no bind: %+v", a)
		}
		time.Sleep(2 * time.Second)
		n.list()
		w.expect("alice/shop/web/1", placement.Running, "n1")
		s := w.status("alice/shop/web/1")
		want := []string{"submit 1s", "wait 3s", "wait " + backoff.Truncate(time.Microsecond).String(), "until seen running 2s"}
		if got := w.steps(tr, s); s.Trace != trace.ID(root.Parent()) || !slices.Equal(got, want) {
			t.Errorf("the steps of %s are %q, want %q", s.Trace, got, want)
		}

		// A copy that is lost begins a new trace.
		if _, err := w.l.ChangeNode(w.t.Context(), placement.NodeChange{Node: "n1", GiveUp: new(true)}); err != nil {
			t.Fatal(err)
		}
		try = w.mustNext()
		if got := trace.ID(try.Trace); got == "" || got == trace.ID(root.Parent()) {
			t.Errorf("after the loss it is part of %q", try.Trace)
		}
		if s := w.status("alice/shop/web/1"); s.Trace != trace.ID(try.Trace) {
			t.Errorf("explain names %s", s.Trace)
		}
	})
}
