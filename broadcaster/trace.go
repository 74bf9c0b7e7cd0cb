package broadcaster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

const (
	traceNodes = 64              // asked for their steps of one trace
	traceTime  = 2 * time.Second // a node's time to answer
)

// Traced is what `trace` tells: the steps of a placement's last way to a node,
// as far as the processes that took part still know them.
type Traced struct {
	Replica placement.Replica  `json:"replica"`
	ID      placement.ID       `json:"id"`
	State   placement.State    `json:"state"`
	Trace   string             `json:"trace"` // 32 hex digits
	Spans   []trace.Span       `json:"spans"`
	Missing []placement.NodeID `json:"missing,omitempty"` // nodes that did not answer
}

// traceMethods is what people ask about traces, and leave with us.
func (b *Broadcaster) traceMethods() rpc.Methods {
	return rpc.Methods{
		"trace": rpc.Unary("Tell where the time went on a replica's last way to a node, OWNER/APP/SERVICE/N: the steps of all processes.", "replica", b.traceOf),
		"spans_add": rpc.Unary("Leave the steps of a process that ends, such as schedctl, with this one.", "spans",
			func(_ context.Context, _ *rpc.Call, spans []trace.Span) (any, error) {
				if err := b.cfg.Trace.Add(spans); err != nil {
					return nil, invalid("cannot take the spans", err.Error(), "")
				}
				return nil, nil
			}),
	}
}

// traceOf collects the spans here and on the nodes that were offered the
// placement.
func (b *Broadcaster) traceOf(ctx context.Context, c *rpc.Call, r placement.Replica) (Traced, error) {
	if _, err := placement.ParseReplica(string(r)); err != nil {
		return Traced{}, err
	}
	if err := owns(c, r.Owner()); err != nil {
		return Traced{}, err
	}
	s, err := b.deps.Apps.Explain(ctx, r)
	if err != nil {
		return Traced{}, err
	}
	if s.Trace == "" {
		return Traced{}, &placement.Error{
			Kind: placement.KindNotFound,
			What: fmt.Sprintf("no trace of %s is known", r),
			Why:  "traces are kept in memory, and it was placed before this broadcaster started",
			Next: "the next time that it is placed there is one",
		}
	}
	t := Traced{Replica: r, ID: s.ID, State: s.State, Trace: s.Trace}
	if t.Spans, err = b.cfg.Trace.Spans(s.Trace, string(s.ID)); err != nil {
		return Traced{}, err
	}
	nodes := asked(t.Spans, s.Node)
	spans, errs := make([][]trace.Span, len(nodes)), make([]error, len(nodes))
	var g errgroup.Group
	for i, node := range nodes {
		g.Go(func() error {
			call, cancel := context.WithTimeout(ctx, traceTime)
			defer cancel()
			spans[i], errs[i] = b.deps.Agents.spans(call, node, s.Trace, s.ID)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs: a node that is gone hides nobody else's steps
	for i, node := range nodes {
		t.Spans = append(t.Spans, spans[i]...)
		if errs[i] != nil {
			t.Missing = append(t.Missing, node)
		}
	}
	return t, nil
}

// asked is the nodes that were offered something in the spans, the one that
// has the copy first.
func asked(spans []trace.Span, holder placement.NodeID) []placement.NodeID {
	var nodes []placement.NodeID
	if holder != "" {
		nodes = append(nodes, holder)
	}
	for _, s := range spans {
		node := placement.NodeID(s.To)
		if s.Calls && s.Name == "offer" && node != "" && !slices.Contains(nodes, node) && len(nodes) < traceNodes {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// spans asks a node's agent what it knows of a trace.
func (a *Agents) spans(ctx context.Context, node placement.NodeID, id string, about placement.ID) ([]trace.Span, error) {
	link := a.link(node)
	if link == nil {
		return nil, errNoAgent
	}
	var spans []trace.Span
	if err := link.Call(ctx, "spans", &spans, id, about); err != nil {
		return nil, fmt.Errorf("ask for spans: %w", err)
	}
	return spans, nil
}
