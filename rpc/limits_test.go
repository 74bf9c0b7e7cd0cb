package rpc_test

import (
	"context"
	"errors"
	"reflect"
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
	at, _ := server(t, tr, "x", rpc.Config{Identity: "house", Methods: house()})
	l := dial(t, tr, at, rpc.Config{})
	for _, c := range []struct {
		method string
		args   []any
		want   any
	}{
		{"_zerorpc_ping", nil, []any{"pong", "house"}},
		{"_zerorpc_name", nil, "house"},
		{"_zerorpc_list", nil, []any{"add", "back", "count", "echo", "fail", "hang", "peer", "thing"}},
		{"_zerorpc_help", []any{"echo"}, "Answer the same."},
		{"_zerorpc_args", []any{"add"}, []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}},
	} {
		var got any
		must(t, l.Call(within(t), c.method, &got, c.args...))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v", c.method, got)
		}
	}
	var all struct {
		Name    string
		Methods map[string]struct {
			Doc  string `json:"doc"`
			Args []struct {
				Name string `json:"name"`
			} `json:"args"`
		} `json:"methods"`
	}
	must(t, l.Call(within(t), "_zerorpc_inspect", &all))
	if len(all.Methods) != 8 || all.Methods["add"].Args[1].Name != "b" || all.Methods["echo"].Doc != "Answer the same." {
		t.Errorf("inspect: %+v", all)
	}
}

func TestConfigErrors(t *testing.T) {
	tr := rpc.Memory()
	for name, m := range map[string]rpc.Method{
		"neither":       {},
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
