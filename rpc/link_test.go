package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"longshore/rpc"
)

type thing struct {
	Name  string            `json:"name"`
	Size  int64             `json:"size,omitempty"`
	Tags  map[string]string `json:"tags"`
	Inner *thing            `json:"inner"`
	Data  []byte            `json:"data"`
}

// house is the methods that most tests call.
func house() rpc.Methods {
	return rpc.Methods{
		"echo": rpc.Unary("Answer the same.", "value", func(_ context.Context, _ *rpc.Call, v any) (any, error) { return v, nil }),
		"thing": rpc.Unary("Answer the same.", "thing", func(_ context.Context, _ *rpc.Call, v thing) (thing, error) {
			return v, nil
		}),
		"add": {Args: []string{"a", "b"}, Call: func(_ context.Context, c *rpc.Call) (any, error) {
			var a, b int
			if err := c.Decode(&a, &b); err != nil {
				return nil, err
			}
			return a + b, nil
		}},
		"fail": rpc.Unary("Fail.", "how", fail),
		"count": rpc.Streaming("Count to n, then fail if it is odd.", "n", func(_ context.Context, _ *rpc.Call, n int, send func(any) error) error {
			for i := range n {
				if err := send(i); err != nil {
					return err
				}
			}
			if n%2 == 1 {
				return errors.New("odd")
			}
			return nil
		}),
		"peer": rpc.Nullary("Who calls.", func(_ context.Context, c *rpc.Call) (string, error) { return c.Peer.Name, nil }),
		"back": rpc.Unary("Call back.", "method", func(ctx context.Context, c *rpc.Call, method string) (any, error) {
			var answer any
			err := c.Link().Call(ctx, method, &answer)
			return answer, err
		}),
		"hang":    rpc.Nullary("Wait for the end.", hang),
		"_secret": rpc.Nullary("Not shown.", func(context.Context, *rpc.Call) (int, error) { return 1, nil }),
	}
}

type coded struct{}

func (coded) Error() string     { return "what\nwhy: because" }
func (coded) ErrorName() string { return "Conflict" }

func fail(_ context.Context, _ *rpc.Call, how string) (any, error) {
	switch how {
	case "named":
		return nil, fmt.Errorf("wrapped: %w", coded{})
	case "panic":
		panic("as told")
	case "big":
		return make([]byte, rpc.MaxFrame), nil
	case "big part":
		return make([]byte, rpc.MaxFrame/8), nil
	case "many":
		return make([]bool, rpc.MaxElements+1), nil
	case "time":
		return time.Now(), nil
	case "keys":
		return map[int]string{1: "x"}, nil
	case "chan":
		return make(chan int), nil
	case "late":
		return nil, context.DeadlineExceeded
	}
	return nil, errors.New(how)
}

func hang(ctx context.Context, _ *rpc.Call) (int, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// guest is a test with a link to the house.
type guest struct {
	t *testing.T
	l *rpc.Link
}

// linked runs f on a link of every transport.
func linked(t *testing.T, f func(g guest)) {
	t.Helper()
	for _, n := range networks() {
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			tr, addr := n.make(t)
			at, _ := server(t, tr, addr, rpc.Config{Identity: "house", Methods: house()})
			own := rpc.Methods{"mine": rpc.Nullary("", func(context.Context, *rpc.Call) (string, error) { return "the caller's", nil })}
			f(guest{t, dial(t, tr, at, rpc.Config{Identity: "guest", Methods: own})})
		})
	}
}

func TestValues(t *testing.T) {
	linked(t, func(g guest) {
		t, l := g.t, g.l
		for _, v := range []any{
			nil, true, int64(0), int64(-1), int64(127), int64(128), int64(-129), int64(70000), int64(1) << 40,
			uint64(1<<64 - 1), 1.5, "", "text", "日本", long(300), long(70000),
			[]byte{0, 255},
			[]any{},
			[]any{int64(1), "x", nil},
			map[string]any{"a": []any{int64(1), map[string]any{}}},
		} {
			var got any
			must(t, l.Call(within(t), "echo", &got, v))
			if !reflect.DeepEqual(got, v) {
				t.Errorf("sent %#v, got %#v", v, got)
			}
		}
		in := thing{Name: "n", Size: 1 << 40, Tags: map[string]string{"a": "b"}, Inner: &thing{Name: "i"}, Data: []byte{1}}
		var out thing
		must(t, l.Call(within(t), "thing", &out, in))
		if !reflect.DeepEqual(in, out) {
			t.Errorf("sent %+v, got %+v", in, out)
		}
		var loose any
		must(t, l.Call(within(t), "thing", &loose, in))
		if m := loose.(map[string]any); m["size"] != int64(1<<40) {
			t.Errorf("by json names: %v", m)
		}
		must(t, l.Call(within(t), "thing", nil, in)) // the result is not wanted
		var who, mine string
		must(t, l.Call(within(t), "peer", &who))
		must(t, l.Call(within(t), "back", &mine, "mine"))
		if who != "guest" || mine != "the caller's" {
			t.Errorf("peer %q, called back %q", who, mine)
		}
		var repaired string
		must(t, l.Call(within(t), "echo", &repaired, "a\xffb"))
		if repaired != "a?b" {
			t.Errorf("text that is no UTF-8 came as %q", repaired)
		}
	})
}

func TestErrors(t *testing.T) {
	linked(t, func(g guest) {
		t, l := g.t, g.l
		for _, c := range []struct {
			method  string
			args    []any
			name    string
			message string
		}{
			{"nothing", nil, rpc.NameUnknown, "there is no method nothing"},
			{"add", []any{1}, rpc.NameInvalid, "add takes 2 arguments, got 1"},
			{"add", []any{1, "x"}, rpc.NameInvalid, "add: argument 2"},
			{"thing", []any{5}, rpc.NameInvalid, "thing: argument 1"},
			{"fail", []any{"named"}, "Conflict", "wrapped: what\nwhy: because"},
			{"fail", []any{"panic"}, rpc.NamePanic, "fail panicked: as told"},
			{"fail", []any{"so"}, rpc.NameOther, "so"},
			{"fail", []any{"late"}, rpc.NameTimeout, "deadline"},
			{"fail", []any{"big"}, rpc.NameInvalid, "message too large"},
			{"fail", []any{"many"}, rpc.NameOther, "more than 100000 values"},
			{"fail", []any{"time"}, rpc.NameOther, "not allowed"},
			{"fail", []any{"keys"}, rpc.NameOther, "key that is no text"},
			{"fail", []any{"chan"}, rpc.NameOther, "chan int"},
			{"back", []any{"nothing"}, rpc.NameUnknown, "there is no method nothing"},
			{"_zerorpc_help", []any{"nothing"}, rpc.NameUnknown, "there is no method nothing"},
		} {
			var remote *rpc.RemoteError
			err := l.Call(within(t), c.method, nil, c.args...)
			if !errors.As(err, &remote) || remote.Name != c.name || !strings.Contains(remote.Message, c.message) || remote.Traceback != "" {
				t.Errorf("%s%v: %#v", c.method, c.args, err)
			}
		}
		if err := l.Call(within(t), "echo", nil, make([]byte, rpc.MaxFrame)); !errors.Is(err, rpc.ErrTooLarge) {
			t.Errorf("an argument too large: %v", err)
		}
		if err := l.Call(within(t), "echo", nil, time.Now()); err == nil {
			t.Error("an argument of a type stock peers do not know was sent")
		}
		if err := l.Call(within(t), "count", nil, 3); err == nil || !strings.Contains(err.Error(), "STREAM") {
			t.Errorf("a stream called: %v", err)
		}
		var number int
		if err := l.Call(within(t), "echo", &number, "text"); err == nil {
			t.Error("text was decoded as a number")
		}
		must(t, l.Call(within(t), "add", &number, 1, 2)) // no harm was done
	})
}

func TestStreams(t *testing.T) {
	linked(t, func(g guest) {
		t, l := g.t, g.l
		for _, n := range []int{0, 1, 2, 49, 50, 51, 99, 100, 101, 1000, 1001} {
			s, err := l.Stream(within(t), "count", n)
			must(t, err)
			for i := range n {
				var got int
				must(t, s.Next(&got))
				if got != i {
					t.Fatalf("item %d is %d", i, got)
				}
			}
			for range 2 {
				err = s.Next(nil)
				var remote *rpc.RemoteError
				if n%2 == 0 && !errors.Is(err, io.EOF) || n%2 == 1 && (!errors.As(err, &remote) || remote.Message != "odd") {
					t.Errorf("the end of %d: %v", n, err)
				}
			}
			must(t, s.Close())
		}
		s, err := l.Stream(within(t), "fail", "so")
		must(t, err)
		if err := s.Next(nil); !errors.As(err, new(*rpc.RemoteError)) {
			t.Errorf("a stream of a failing call: %v", err)
		}
		s, err = l.Stream(within(t), "count", 1000)
		must(t, err)
		must(t, s.Next(nil))
		must(t, s.Close())
		must(t, s.Close())
		if err := s.Next(nil); !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("next after close: %v", err)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	linked(t, func(g guest) {
		t, l := g.t, g.l
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				var sum int
				if err := l.Call(within(t), "add", &sum, i, 1); err != nil || sum != i+1 {
					t.Errorf("%d + 1 = %d, %v", i, sum, err)
				}
			})
			wg.Go(func() {
				s, err := l.Stream(within(t), "count", 150)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 150 {
					var got int
					if err := s.Next(&got); err != nil || got != i {
						t.Errorf("item %d: %d, %v", i, got, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestCancel: however a caller goes away, its handler's context ends at once.
func TestCancel(t *testing.T) {
	for name, leave := range map[string]func(l *rpc.Link, cancel func(), s *rpc.Stream){
		"context of the call":   func(_ *rpc.Link, cancel func(), _ *rpc.Stream) { cancel() },
		"context of the stream": func(_ *rpc.Link, cancel func(), _ *rpc.Stream) { cancel() },
		"close of the stream":   func(_ *rpc.Link, _ func(), s *rpc.Stream) { _ = s.Close() },
		"close of the link":     func(l *rpc.Link, _ func(), _ *rpc.Stream) { _ = l.Close() },
	} {
		for _, n := range networks() {
			t.Run(name+"/"+n.name, func(t *testing.T) {
				t.Parallel()
				tr, addr := n.make(t)
				began, ended := make(chan bool, 1), make(chan bool, 1)
				wait := func(ctx context.Context) { began <- true; <-ctx.Done(); ended <- true }
				at, _ := server(t, tr, addr, rpc.Config{Methods: rpc.Methods{
					"call": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (int, error) { wait(ctx); return 0, nil }),
					"stream": {Stream: func(ctx context.Context, _ *rpc.Call, send func(any) error) error {
						_ = send(1)
						wait(ctx)
						if err := send(2); err == nil {
							t.Error("send to nobody succeeded")
						}
						return nil
					}},
				}})
				l := dial(t, tr, at, rpc.Config{})
				ctx, cancel := context.WithCancel(within(t))
				defer cancel()
				gone := make(chan error, 1)
				var s *rpc.Stream
				if strings.HasSuffix(name, "stream") {
					var err error
					s, err = l.Stream(ctx, "stream")
					must(t, err)
					must(t, s.Next(nil))
					go func() { gone <- s.Next(nil) }()
				} else {
					go func() { gone <- l.Call(ctx, "call", nil) }()
				}
				receive(t, "handler runs", began)
				leave(l, cancel, s)
				receive(t, "handler ends", ended)
				err := receive(t, "caller ends", gone)
				if !errors.Is(err, context.Canceled) && !errors.Is(err, rpc.ErrClosed) {
					t.Errorf("the caller got %v", err)
				}
			})
		}
	}
}
