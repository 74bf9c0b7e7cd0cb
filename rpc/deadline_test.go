package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"longshore/rpc"
)

// noting is a server whose only method notes that it ran and how long it may.
func noting(ran *atomic.Int64) rpc.Config {
	return rpc.Config{Methods: rpc.Methods{
		"left": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (float64, error) {
			ran.Add(1)
			due, ok := ctx.Deadline()
			if !ok {
				return -1, nil
			}
			return time.Until(due).Seconds(), nil
		}),
	}}
}

// TestDeadlines: what a caller may say of its time, and that a call whose time
// is over never runs.
func TestDeadlines(t *testing.T) {
	var ran atomic.Int64
	facingServer(t, noting(&ran), func(p *puppet) {
		now := float64(time.Now().Unix())
		for i, c := range []struct {
			header map[string]any
			want   any // seconds left, or the beginning of the refusal
		}{
			{map[string]any{}, -1.0},
			{map[string]any{"deadline_ms": nil, "deadline": nil}, -1.0},
			{map[string]any{"deadline_ms": 1500}, 1.5},
			{map[string]any{"deadline_ms": 1500.5}, 1.5005},
			{map[string]any{"deadline_ms": float32(0.5)}, 0.0005},
			{map[string]any{"deadline_ms": 0}, "TimeoutExpired the caller's time was over 0s before the call could begin: it was not run (it is 2000-01-01T00:00:00Z here)"},
			{map[string]any{"deadline_ms": -5}, "TimeoutExpired the caller's time was over 5ms"},
			{map[string]any{"deadline_ms": int64(math.MinInt64)}, "TimeoutExpired"},
			{map[string]any{"deadline_ms": int64(math.MaxInt64)}, -1.0},
			{map[string]any{"deadline_ms": "soon"}, "Invalid header key deadline_ms is no number"},
			{map[string]any{"deadline": int64(now) + 3}, 3.0},
			{map[string]any{"deadline": now + 3.25}, 3.25},
			{map[string]any{"deadline": now + 3, "deadline_ms": 2000}, 2.0}, // the earlier
			{map[string]any{"deadline": now + 3, "deadline_ms": 4000}, 3.0},
			{map[string]any{"deadline": now - 90}, "TimeoutExpired the caller's time was over 1m30s"},
			{map[string]any{"deadline": now}, "TimeoutExpired the caller's time was over 0s"},
			{map[string]any{"deadline": 0}, "TimeoutExpired"},
			{map[string]any{"deadline": -1e300}, "TimeoutExpired"},
			{map[string]any{"deadline": 9e10}, -1.0}, // the year 4822
			{map[string]any{"deadline": (now + 3) * 1000}, "Invalid header key deadline is 9.46684803e+11: it is in seconds since 1970, not in milliseconds"},
			{map[string]any{"deadline": math.NaN()}, "Invalid header key deadline is no number"},
			{map[string]any{"deadline": math.Inf(-1)}, "Invalid header key deadline is no number"},
			{map[string]any{"deadline": []any{1}}, "Invalid header key deadline is no number"},
		} {
			before := ran.Load()
			c.header["message_id"], c.header["v"] = fmt.Sprint("m", i), 3
			p.send([][]byte{{}}, c.header, "left", []any{})
			e := p.recv()
			args := e.Args.([]any)
			if left, runs := c.want.(float64); runs {
				if e.Name != "OK" || math.Abs(args[0].(float64)-left) > 1e-6 || ran.Load() != before+1 {
					p.t.Errorf("%v: %s %v, want %v s left", c.header, e.Name, args, left)
				}
				continue
			}
			if got := fmt.Sprint(args[0], " ", args[1]); e.Name != "ERR" || !strings.HasPrefix(got, c.want.(string)) || ran.Load() != before {
				p.t.Errorf("%v: %s %s, want %v, and it ran %d times", c.header, e.Name, got, c.want, ran.Load()-before)
			}
		}
	})
}

// TestStaleRequests: requests that a stock client's library kept while the
// server was down, and delivers when it is back, are refused where the client
// says when it gives up, and run where it does not.
func TestStaleRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		tr := rpc.Memory()
		if _, err := tr.Dial(t.Context(), "x", "puppet"); err == nil {
			t.Fatal("the server is not down")
		}
		asked := time.Now()
		kept := []map[string]any{
			{"message_id": "a", "v": 3, "deadline": float64(asked.Unix()) + 30},
			{"message_id": "b", "v": 3, "deadline": asked.Unix() + 120},
			{"message_id": "c", "v": 3},
		}
		time.Sleep(time.Minute)
		at, stop := server(t, tr, "x", noting(&ran))
		conn, err := tr.Dial(t.Context(), at, "puppet")
		must(t, err)
		p := &puppet{t, conn}
		for i, want := range []string{"ERR", "OK", "OK"} {
			p.send([][]byte{{}}, kept[i], "left", []any{})
			if e := p.recv(); e.Name != want {
				t.Errorf("%v: %+v", kept[i], e)
			}
		}
		if ran.Load() != 2 {
			t.Errorf("%d ran", ran.Load())
		}
		must(t, conn.Close())
		stop()
	})
}

// TestCancelNested: a call that a handler makes for its caller, in either
// direction of a link, is cancelled with it, stream or not, by the caller's
// word, its deadline or its loss.
func TestCancelNested(t *testing.T) {
	for _, n := range networks() {
		for how, leave := range map[string]func(cancel func(), l *rpc.Link){
			"cancel": func(cancel func(), _ *rpc.Link) { cancel() },
			"loss":   func(_ func(), l *rpc.Link) { _ = l.Close() },
			"time":   func(func(), *rpc.Link) {},
		} {
			for _, streams := range []bool{false, true} {
				t.Run(fmt.Sprint(n.name, "/", how, "/stream=", streams), func(t *testing.T) {
					t.Parallel()
					began, ended := make(chan time.Time, 1), make(chan error, 1)
					hold := func(ctx context.Context) error {
						due, _ := ctx.Deadline()
						began <- due
						<-ctx.Done()
						ended <- context.Cause(ctx)
						return ctx.Err()
					}
					// The agent dials the centre and serves on that link; a client
					// calls the centre, which calls the agent.
					links := make(chan *rpc.Link, 1)
					tr, addr := n.make(t)
					at, _ := server(t, tr, addr, rpc.Config{Methods: rpc.Methods{
						"hello": rpc.Nullary("", func(_ context.Context, c *rpc.Call) (any, error) { links <- c.Link(); return nil, nil }),
						"relay": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (any, error) {
							l := <-links
							if !streams {
								return nil, l.Call(ctx, "call", nil)
							}
							s, err := l.Stream(ctx, "stream")
							if err != nil {
								return nil, err
							}
							defer s.Close()
							return nil, errors.Join(s.Next(nil), s.Next(nil))
						}),
					}})
					agent := dial(t, tr, at, rpc.Config{Methods: rpc.Methods{
						"call": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (any, error) { return nil, hold(ctx) }),
						"stream": {Stream: func(ctx context.Context, _ *rpc.Call, send func(any) error) error {
							return errors.Join(send(1), hold(ctx))
						}},
					}})
					must(t, agent.Call(within(t), "hello", nil))
					client := dial(t, tr, at, rpc.Config{})
					limit := time.Hour
					if how == "time" {
						limit = 500 * time.Millisecond
					}
					ctx, cancel := context.WithTimeout(context.Background(), limit)
					defer cancel()
					gone := make(chan error, 1)
					go func() { gone <- client.Call(ctx, "relay", nil) }()
					due := receive(t, "the agent runs", began)
					if d, _ := ctx.Deadline(); due.Before(d.Add(-10*time.Millisecond)) || due.After(d.Add(wait)) {
						t.Errorf("the agent may take until %v, the client waits until %v", due, d)
					}
					leave(cancel, client)
					receive(t, "the agent's handler ends", ended)
					if err := receive(t, "the client's call ends", gone); err == nil {
						t.Error("the client's call succeeded")
					}
				})
			}
		}
	}
}
