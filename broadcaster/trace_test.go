package broadcaster_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"longshore/broadcaster"
	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

// TestTrace: a submit without a trace begins one, to which the offers belong,
// and the nodes that were asked are asked for their steps.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		id := placement.NewReplica("alice", "shop", "web", 1).Placement("00000000000000000001")
		var asked, parent string
		w.nodeServing("n01", func(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
			return passes("cpu")(ctx, o)
		}, rpc.Methods{"spans": {Args: []string{"trace", "placement"}, Call: func(_ context.Context, c *rpc.Call) (any, error) {
			var about string
			err := c.Decode(&asked, &about)
			return []trace.Span{{Trace: asked, ID: "01", Name: "place", Part: "agent n01", About: about}}, err
		}}})
		w.nodeServing("n02", takes, rpc.Methods{"offer": rpc.Unary("", "offer", func(_ context.Context, c *rpc.Call, _ placement.Offer) (placement.OfferAnswer, error) {
			_, err := c.Header("traceparent", &parent)
			return placement.OfferAnswer{Taken: true}, err
		})})
		c, ctx := w.dial("client", nil), t.Context()
		wantKind(t, c.Call(ctx, "trace", nil, "alice/shop/web/1"), placement.KindNotFound)
		app := placement.App{V: placement.Format, Owner: "alice", Name: "shop", Services: []placement.Service{{
			Name: "web", Replicas: 1, Request: placement.Request{V: placement.Format, Image: "web:1"},
		}}}
		if err := c.Call(ctx, "submit", nil, app); err != nil {
			t.Fatal(err)
		}
		out := w.offer(placement.Try{ID: id, Trace: w.ledger.parent, Request: placement.Request{V: placement.Format}})
		if out.Taken != "n02" || trace.ID(parent) == "" || trace.ID(parent) != trace.ID(w.ledger.parent) {
			t.Errorf("%+v; the offer is part of %q, the submit %q", out, parent, w.ledger.parent)
		}

		var got broadcaster.Traced
		if err := c.Call(ctx, "trace", &got, "alice/shop/web/1"); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, s := range got.Spans {
			name := s.Part + ": " + strings.TrimSpace(s.Name+" "+s.To)
			count[name]++
			if len(s.About) > 0 != (s.Part != "broadcaster" || s.Name == "look for a node" || s.Name == "round" || s.Name == "offer") {
				t.Errorf("%s is about %q", name, s.About)
			}
		}
		want := map[string]int{
			"broadcaster: submit": 1, "broadcaster: resolve images": 1, "broadcaster: store": 1,
			"broadcaster: look for a node": 1, "broadcaster: round": 1, "broadcaster: offer n01": 1, "broadcaster: offer n02": 1,
			"agent n01: place": 1,
		}
		if !reflect.DeepEqual(count, want) || fmt.Sprint(got.Missing) != "[n02]" || got.Trace != asked || got.ID != id {
			t.Errorf("%v, missing %v, trace %s of %s", count, got.Missing, got.Trace, got.ID)
		}
		wantKind(t, c.Call(ctx, "trace", nil, "shop"), placement.KindInvalid)

		// What a process that ends leaves behind is shown too.
		left := trace.Span{Trace: got.Trace, ID: "02", Clock: "00", Name: "submit", Part: "schedctl"}
		if err := c.Call(ctx, "spans_add", nil, []trace.Span{left}); err != nil {
			t.Fatal(err)
		}
		before := len(got.Spans)
		if err := c.Call(ctx, "trace", &got, "alice/shop/web/1"); err != nil || len(got.Spans) != before+1 {
			t.Errorf("%d spans, %v", len(got.Spans), err)
		}
		left.ID = "no hex"
		wantKind(t, c.Call(ctx, "spans_add", nil, []trace.Span{left}), placement.KindInvalid)
	})
}
