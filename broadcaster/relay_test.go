package broadcaster_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// told is what a node's methods were told beside their arguments.
func told(c *rpc.Call) (who, key string) {
	_, _ = c.Header(placement.CallerKey, &who) // without it: ""
	key, _, _ = c.IdempotencyKey()
	return who, key
}

func TestCallsReachNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		gone := make(chan struct{})
		w.nodeServing("n01", takes, rpc.Methods{
			"echo": rpc.Unary("", "x", func(_ context.Context, c *rpc.Call, x any) ([]any, error) {
				who, key := told(c)
				return []any{x, who, key}, nil
			}),
			"fail": rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) {
				return nil, &placement.Error{Kind: placement.KindNotFound, What: "no such copy", Why: "7 others", Next: "look"}
			}),
			"hang": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (any, error) {
				<-ctx.Done()
				close(gone)
				return nil, ctx.Err()
			}),
			"count": rpc.Streaming("", "n", func(_ context.Context, _ *rpc.Call, n int, send func(any) error) error {
				for i := range n {
					if err := send(i); err != nil {
						return err
					}
				}
				return &placement.Error{Kind: placement.KindRefused, What: "that is all"}
			}),
		})
		c, ctx := w.dial("client", nil), t.Context()
		var got []any
		err := c.Call(rpc.WithIdempotencyKey(ctx, "k1"), "call", &got, "n01", "echo", []any{map[string]any{"a": []byte("b")}})
		if err != nil || len(got) != 3 || got[1] != "operator" || got[2] != "k1" {
			t.Fatalf("%v, %v", got, err)
		}
		if m, ok := got[0].(map[string]any); !ok || string(m["a"].([]byte)) != "b" {
			t.Errorf("the argument arrived as %v", got[0])
		}
		e := wantKind(t, c.Call(ctx, "call", nil, "n01", "fail"), placement.KindNotFound)
		if *e != (placement.Error{Kind: placement.KindNotFound, What: "no such copy", Why: "7 others", Next: "look"}) {
			t.Errorf("the error arrived as %+v", e)
		}
		wantKind(t, c.Call(ctx, "call", nil, "n01", "nothing"), "NameError")
		wantKind(t, c.Call(ctx, "call", nil, "n02", "echo", []any{1}), placement.KindUnavailable)
		wantKind(t, c.Call(ctx, "call", nil, "../n", "echo", []any{1}), placement.KindInvalid)
		for _, own := range []string{"offer", "stop"} {
			wantKind(t, c.Call(ctx, "call", nil, "n01", own, []any{1}), placement.KindRefused)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Call(short, "call", nil, "n01", "hang"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a deadline: %v", err)
		}
		<-gone

		s, err := c.Stream(ctx, "call_stream", "n01", "count", []any{250})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 250 {
			var n int
			if err := s.Next(&n); err != nil || n != i {
				t.Fatalf("item %d is %d, %v", i, n, err)
			}
		}
		if err := s.Next(nil); errors.Is(err, io.EOF) {
			t.Error("the stream's error is lost")
		} else {
			wantKind(t, err, placement.KindRefused)
		}
	})
}

func TestCallToANodeThatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(1), plainImages)
		link := w.nodeServing("n01", takes, rpc.Methods{"hang": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})})
		c := w.dial("client", nil)
		ended := make(chan error, 1)
		go func() { ended <- c.Call(t.Context(), "call", nil, "n01", "hang") }()
		synctest.Wait()
		link.Close()
		if e := wantKind(t, <-ended, placement.KindUnavailable); e.Next == "" {
			t.Errorf("%+v", e)
		}
	})
}
