package rpc_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"longshore/rpc"
)

// notes is what middleware saw, in order.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(parts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, strings.Join(parts, " "))
}

func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}

func (n *notes) serve(name string) func(rpc.Handler) rpc.Handler {
	return func(next rpc.Handler) rpc.Handler {
		return func(ctx context.Context, c *rpc.Call) (any, error) {
			var trace string
			_, err := c.Header("trace", &trace)
			n.add(name, c.Method, trace)
			if err != nil {
				return nil, err
			}
			result, err := next(ctx, c)
			if err != nil {
				n.add(name, c.Method, "failed:", err.Error())
			}
			return result, err
		}
	}
}

func (n *notes) invoke(name string) func(rpc.Invoker) rpc.Invoker {
	return func(next rpc.Invoker) rpc.Invoker {
		return func(ctx context.Context, r *rpc.Request) error {
			r.Set("trace", "0")
			r.Set("trace", name)
			r.OnEnd(func(err error) {
				if err != nil {
					n.add(name, r.Method, "ended:", err.Error())
					return
				}
				n.add(name, r.Method, "ended")
			})
			return next(ctx, r)
		}
	}
}

func TestMiddleware(t *testing.T) {
	for _, net := range networks() {
		t.Run(net.name, func(t *testing.T) {
			tr, addr := net.make(t)
			var near, far notes
			at, _ := server(t, tr, addr, rpc.Config{
				Methods: house(),
				Serve:   []func(rpc.Handler) rpc.Handler{far.serve("outer"), far.serve("inner")},
			})
			l := dial(t, tr, at, rpc.Config{Invoke: []func(rpc.Invoker) rpc.Invoker{near.invoke("a"), near.invoke("b")}})
			expect := func(what string, n *notes, want ...string) {
				t.Helper()
				if got := n.take(); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}

			var sum int
			must(t, l.Call(within(t), "add", &sum, 1, 2))
			if sum != 3 {
				t.Errorf("sum %d", sum)
			}
			expect("a call", &far, "outer add b", "inner add b")
			expect("a call of ours", &near, "b add ended", "a add ended")

			if err := l.Call(within(t), "fail", nil, "so"); err == nil {
				t.Error("no error")
			}
			expect("an error", &far, "outer fail b", "inner fail b", "inner fail failed: so", "outer fail failed: so")
			expect("an error to us", &near, "b fail ended: RemoteError: so", "a fail ended: RemoteError: so")

			s, err := l.Stream(within(t), "count", 2)
			must(t, err)
			expect("a stream that runs", &near)
			var items []int
			for err == nil {
				var item int
				if err = s.Next(&item); err == nil {
					items = append(items, item)
				}
			}
			if !errors.Is(err, io.EOF) || !reflect.DeepEqual(items, []int{0, 1}) {
				t.Errorf("items %v, %v", items, err)
			}
			must(t, s.Close())
			expect("a stream", &far, "outer count b", "inner count b")
			expect("a stream of ours", &near, "b count ended", "a count ended")

			s, err = l.Stream(within(t), "count", 1000)
			must(t, err)
			must(t, s.Close())
			expect("a closed stream", &near, "b count ended: rpc: closed", "a count ended: rpc: closed")
		})
	}
}

func TestMiddlewareDecides(t *testing.T) {
	tr := rpc.Memory()
	at, _ := server(t, tr, "x", rpc.Config{Methods: house(), Serve: []func(rpc.Handler) rpc.Handler{
		func(next rpc.Handler) rpc.Handler {
			return func(ctx context.Context, c *rpc.Call) (any, error) {
				switch {
				case c.Method == "echo":
					return "kept", nil
				case c.Streams():
					panic("in the middle")
				}
				_, err := next(ctx, c)
				return nil, errors.Join(errors.New("so: "), err)
			}
		},
	}})
	link := func(f func(ctx context.Context, r *rpc.Request, next rpc.Invoker) error) *rpc.Link {
		return dial(t, tr, at, rpc.Config{Invoke: []func(rpc.Invoker) rpc.Invoker{func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) error { return f(ctx, r, next) }
		}}})
	}
	pass := link(func(ctx context.Context, r *rpc.Request, next rpc.Invoker) error { return next(ctx, r) })
	var got string
	if err := pass.Call(within(t), "echo", &got, "x"); err != nil || got != "kept" {
		t.Errorf("a handler's answer was not replaced: %q, %v", got, err)
	}
	var remote *rpc.RemoteError
	if err := pass.Call(within(t), "add", nil, 1, 2); !errors.As(err, &remote) || remote.Name != rpc.NameOther {
		t.Errorf("a handler's result became %v", err)
	}
	s, err := pass.Stream(within(t), "count", 1)
	must(t, err)
	if err := s.Next(nil); !errors.As(err, &remote) || remote.Name != rpc.NamePanic {
		t.Errorf("a panic in the middle: %v", err)
	}

	again := link(func(ctx context.Context, r *rpc.Request, next rpc.Invoker) error {
		_ = next(ctx, r)
		r.Method = "echo"
		return next(ctx, r)
	})
	if err := again.Call(within(t), "nothing", &got, "x"); err != nil || got != "kept" {
		t.Errorf("a second attempt: %q, %v", got, err)
	}
	closed := link(func(context.Context, *rpc.Request, rpc.Invoker) error { return nil })
	if _, err := closed.Stream(within(t), "count", 1); err == nil {
		t.Error("a stream that nobody opened")
	}
	for _, keys := range [][]string{{"v"}, {"message_id"}, strings.Split("abcdefghijkl", "")} {
		l := link(func(ctx context.Context, r *rpc.Request, next rpc.Invoker) error {
			for _, k := range keys {
				r.Set(k, 1)
			}
			return next(ctx, r)
		})
		if err := l.Call(within(t), "echo", nil, 1); err == nil || !strings.Contains(err.Error(), "header") {
			t.Errorf("header keys %q: %v", keys, err)
		}
	}
}
