package rpc_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"longshore/rpc"
)

func TestBusy(t *testing.T) {
	tr := rpc.Memory()
	var running atomic.Int32
	at, _ := server(t, tr, "x", rpc.Config{MaxHandlers: 3, MaxPending: 2000, Methods: rpc.Methods{
		"hang": rpc.Unary("", "ballast", func(ctx context.Context, c *rpc.Call, _ []byte) (int, error) {
			running.Add(1)
			defer running.Add(-1)
			return hang(ctx, c)
		}),
	}})
	for _, c := range []struct{ ballast, fit int }{{10, 3}, {900, 2}} {
		l := dial(t, tr, at, rpc.Config{})
		ctx, cancel := context.WithCancel(within(t))
		ends := make(chan error, c.fit)
		for i := range c.fit {
			go func() { ends <- l.Call(ctx, "hang", nil, make([]byte, c.ballast)) }()
			eventually(t, "it runs", func() bool { return running.Load() == int32(i+1) })
		}
		var remote *rpc.RemoteError
		err := l.Call(within(t), "hang", nil, make([]byte, c.ballast))
		if !errors.As(err, &remote) || remote.Name != rpc.NameBusy {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		for range c.fit {
			<-ends
		}
		eventually(t, "all have ended", func() bool { return running.Load() == 0 })
		must(t, l.Close())
	}
}

// TestBusyTogether: many links cannot hold more than all may, and one that
// holds little is served all the same.
func TestBusyTogether(t *testing.T) {
	tr := rpc.Memory()
	var running atomic.Int32
	const size, fit = 100 << 10, 3
	at, _ := server(t, tr, "x", rpc.Config{MaxHeld: fit*size + size/2, Methods: rpc.Methods{
		"hang": rpc.Unary("", "ballast", func(ctx context.Context, c *rpc.Call, _ []byte) (int, error) {
			running.Add(1)
			defer running.Add(-1)
			return hang(ctx, c)
		}),
		"add": house()["add"],
	}})
	for range 2 { // what is given back may be had again
		ctx, cancel := context.WithCancel(within(t))
		ends := make(chan error, fit)
		for i := range fit {
			l := dial(t, tr, at, rpc.Config{})
			go func() { ends <- l.Call(ctx, "hang", nil, make([]byte, size)) }()
			eventually(t, "it runs", func() bool { return running.Load() == int32(i+1) })
		}
		l := dial(t, tr, at, rpc.Config{})
		var remote *rpc.RemoteError
		err := l.Call(within(t), "hang", nil, make([]byte, size))
		if !errors.As(err, &remote) || remote.Name != rpc.NameBusy || !strings.Contains(remote.Message, "all links") {
			t.Errorf("one too many: %v", err)
		}
		must(t, l.Call(within(t), "add", nil, 1, 2))
		cancel()
		for range fit {
			<-ends
		}
		eventually(t, "all have ended", func() bool { return running.Load() == 0 })
	}
}

func TestAllow(t *testing.T) {
	tr := rpc.Memory()
	at, _ := server(t, tr, "x", rpc.Config{Methods: house(), Allow: func(c *rpc.Call) error {
		if c.Peer.Name != "guest" || c.Method == "add" {
			return errors.New("not you")
		}
		return nil
	}})
	l := dial(t, tr, at, rpc.Config{Identity: "guest"})
	must(t, l.Call(within(t), "echo", nil, 1))
	var remote *rpc.RemoteError
	if err := l.Call(within(t), "add", nil, 1, 2); !errors.As(err, &remote) || remote.Name != rpc.NameRefused {
		t.Errorf("refused as %v", err)
	}
}

func TestBuiltins(t *testing.T) {
	tr := rpc.Memory()
	methods := rpc.Methods{
		"add": house()["add"].Optional(5), "echo": house()["echo"], "count": house()["count"], "_secret": house()["_secret"],
		"hang": rpc.Nullary("Wait.\n\nFor ever.", hang),
	}
	at, _ := server(t, tr, "x", rpc.Config{Identity: "house", Methods: methods})
	l := dial(t, tr, at, rpc.Config{})
	type m = map[string]any
	for _, c := range []struct {
		method string
		args   []any
		want   any
	}{
		{"_zerorpc_ping", nil, []any{"pong", "house"}},
		{"_zerorpc_name", nil, "house"},
		{"_zerorpc_list", nil, []any{"add", "count", "echo", "hang"}},
		{"_zerorpc_help", []any{"echo"}, "Answer the same."},
		{"_zerorpc_help", []any{"add"}, nil},
		{"_zerorpc_args", []any{"add"}, []any{[]any{"a", "b"}, nil, nil, []any{int64(5)}}},
		{"_zerorpc_args", []any{"hang"}, []any{[]any{}, nil, nil, nil}},
		{"_zerorpc_args", []any{"_zerorpc_help"}, []any{[]any{"method"}, nil, nil, nil}},
		{"_zerorpc_inspect", nil, m{"name": "house", "methods": m{
			"add":   m{"args": []any{m{"name": "a"}, m{"name": "b", "default": int64(5)}}, "doc": nil},
			"count": m{"args": []any{m{"name": "n"}}, "doc": "Count to n, then fail if it is odd."},
			"echo":  m{"args": []any{m{"name": "value"}}, "doc": "Answer the same."},
			"hang":  m{"args": []any{}, "doc": "Wait.\n\nFor ever."},
		}}},
		{"add", []any{1}, int64(6)},
		{"add", []any{1, 2}, int64(3)},
	} {
		var got any
		must(t, l.Call(within(t), c.method, &got, c.args...))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v", c.method, got)
		}
	}
	for _, args := range [][]any{nil, {1, 2, 3}} {
		err := l.Call(within(t), "add", nil, args...)
		if err == nil || !strings.Contains(err.Error(), "takes 1 to 2 arguments, got ") {
			t.Errorf("%d arguments: %v", len(args), err)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	tr := rpc.Memory()
	for name, m := range map[string]rpc.Method{
		"neither":       {},
		"defaults":      house()["add"].Optional(1, 2, 3),
		"both":          {Call: house()["add"].Call, Stream: house()["count"].Stream},
		"_zerorpc_mine": house()["add"],
		"":              house()["add"],
	} {
		l, err := tr.Listen(within(t), "x")
		must(t, err)
		if err := rpc.Serve(within(t), l, rpc.Config{Methods: rpc.Methods{name: m}}); err == nil {
			t.Errorf("method %q was served", name)
		}
	}
}
