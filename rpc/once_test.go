package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"longshore/rpc"
)

// counter is a house whose methods count how often they ran.
type counter struct {
	ran  atomic.Int64
	once *rpc.Once
}

var errNothing = errors.New("nothing was done")

func (n *counter) methods() rpc.Methods {
	type order struct {
		Key  string `json:"key"`
		What string `json:"what"`
	}
	return rpc.Methods{
		"do": rpc.Unary("", "what", func(ctx context.Context, _ *rpc.Call, what string) (string, error) {
			ran := n.ran.Add(1)
			switch what {
			case "slow":
				select {
				case <-time.After(time.Minute):
				case <-ctx.Done():
					return "", ctx.Err()
				}
			case "fail":
				return "", fmt.Errorf("%d: %w", ran, coded{})
			case "nothing":
				return "", errNothing
			case "panic":
				panic("as told")
			case "big":
				return strings.Repeat("x", 1000), nil
			case "huge":
				return strings.Repeat("x", rpc.MaxFrame), nil
			}
			return fmt.Sprintf("%s %d", what, ran), nil
		}),
		"other": rpc.Unary("", "what", func(context.Context, *rpc.Call, string) (int64, error) { return n.ran.Add(1), nil }),
		"order": {Args: []string{"order"}, Key: "key", Call: func(_ context.Context, c *rpc.Call) (any, error) {
			var o order
			err := c.Decode(&o)
			return n.ran.Add(1), err
		}},
		"flow": rpc.Streaming("", "n", func(_ context.Context, _ *rpc.Call, _ int, send func(any) error) error {
			return send(n.ran.Add(1))
		}),
	}
}

// onced runs f in a bubble with a house that runs keyed calls once. dial makes
// links to it.
func onced(t *testing.T, cfg rpc.OnceConfig, f func(t *testing.T, n *counter, dial func() *rpc.Link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &counter{once: rpc.NewOnce(cfg)}
		tr := rpc.Memory()
		at, stop := server(t, tr, "x", rpc.Config{Methods: n.methods(), Serve: []func(rpc.Handler) rpc.Handler{n.once.Serve}})
		f(t, n, func() *rpc.Link { return dial(t, tr, at, rpc.Config{}) })
		must(t, n.once.Close())
		stop()
	})
}

func keyed(key string) context.Context { return rpc.WithIdempotencyKey(context.Background(), key) }

// do calls with a key; the answer, or the error's text.
func do(l *rpc.Link, key, method, what string) string {
	var got any
	if err := l.Call(keyed(key), method, &got, what); err != nil {
		return strings.TrimPrefix(err.Error(), "call "+method+": ")
	}
	return fmt.Sprint(got)
}

func TestOnce(t *testing.T) {
	onced(t, rpc.OnceConfig{Forget: func(err error) bool { return errors.Is(err, errNothing) }}, func(t *testing.T, _ *counter, dial func() *rpc.Link) {
		l, other := dial(), dial()
		conflict := `KeyConflict: do: the idempotency key "a" was used with other arguments; use a new key`
		for _, c := range []struct {
			link              *rpc.Link
			key, method, what string
			want              string
		}{
			{l, "", "do", "x", "x 1"}, // no key
			{l, "", "do", "x", "x 2"},
			{l, "a", "do", "x", "x 3"},
			{l, "a", "do", "x", "x 3"},
			{other, "a", "do", "x", "x 3"}, // the same caller on another link
			{l, "a", "do", "y", conflict},
			{l, "a", "other", "y", "4"}, // a key is of one method
			{l, "b", "do", "x", "x 5"},
			{l, "e", "do", "fail", "Conflict: 6: what\nwhy: because"},
			{other, "e", "do", "fail", "Conflict: 6: what\nwhy: because"},
			{l, "p", "do", "panic", "Panic: do panicked: as told"},
			{l, "p", "do", "panic", "Panic: do panicked: as told"},
			{l, "n", "do", "nothing", "RemoteError: nothing was done"},
			{l, "n", "do", "x", "x 9"}, // 7 was the panic, 8 did nothing and left the key free
			{l, "h", "do", "huge", fmt.Sprintf("Invalid: the result: rpc: message too large: %d bytes, at most %d", rpc.MaxFrame+5, rpc.MaxFrame)},
			{l, strings.Repeat("k", 129), "do", "x", "Invalid: an idempotency key is text of at most 128 bytes"},
		} {
			if got := do(c.link, c.key, c.method, c.what); got != c.want {
				t.Errorf("%s(%s) with key %.5q: %s, want %s", c.method, c.what, c.key, got, c.want)
			}
		}
		time.Sleep(10*time.Minute - time.Second)
		if got := do(l, "a", "do", "x"); got != "x 3" {
			t.Errorf("a second before its time is over the result is %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := do(l, "a", "do", "y"); got != "y 11" {
			t.Errorf("after its time the key gives %s", got)
		}
	})
}

// TestOnceField: callers that cannot set header keys put the key into the
// argument; streams take none.
func TestOnceField(t *testing.T) {
	onced(t, rpc.OnceConfig{}, func(t *testing.T, _ *counter, dial func() *rpc.Link) {
		l := dial()
		for i, c := range []struct {
			arg  any
			want string
		}{
			{map[string]any{"what": "x", "key": "k"}, "1"},
			{map[string]any{"what": "x", "key": "k"}, "1"},
			{map[string]any{"what": "y", "key": "k"}, `KeyConflict: order: the idempotency key "k" was used with other arguments; use a new key`},
			{map[string]any{"what": "x", "key": ""}, "2"},
			{map[string]any{"what": "x", "key": nil}, "3"},
			{map[string]any{"what": "x"}, "4"},
			{map[string]any{"what": "x", "key": 7}, "Invalid: an idempotency key is text of at most 128 bytes"},
		} {
			var got any
			err := l.Call(context.Background(), "order", &got, c.arg)
			if text := fmt.Sprint(got); err == nil && text != c.want || err != nil && err.Error() != c.want {
				t.Errorf("%d: %v, %v, want %s", i, got, err, c.want)
			}
		}
		if err := l.Call(context.Background(), "order", nil, "no map"); err == nil || !strings.HasPrefix(err.Error(), "Invalid: order: argument 1:") {
			t.Errorf("an argument that is no map: %v", err)
		}
		s, err := l.Stream(keyed("k"), "flow", 1)
		must(t, err)
		must(t, s.Next(nil))
		must(t, s.Close())
	})
	facingServer(t, rpc.Config{Methods: house(), Serve: []func(rpc.Handler) rpc.Handler{rpc.NewOnce(rpc.OnceConfig{}).Serve}}, func(p *puppet) {
		p.send([][]byte{{}}, map[string]any{"message_id": "m", "v": 3, "idempotency_key": []byte("k")}, "count", []any{1})
		if e := p.recv(); e.Name != "ERR" || e.Args.([]any)[0] != rpc.NameInvalid {
			p.t.Errorf("a stream with a key got %+v", e)
		}
	})
}

// TestOnceOutlives: a call with a key goes on without its caller, and whoever
// calls again with the key waits for it and has its result.
func TestOnceOutlives(t *testing.T) {
	onced(t, rpc.OnceConfig{}, func(t *testing.T, n *counter, dial func() *rpc.Link) {
		began := time.Now()
		l := dial()
		ctx, cancel := context.WithTimeout(keyed("k"), time.Second)
		defer cancel()
		if err := l.Call(ctx, "do", nil, "slow"); !errors.Is(err, rpc.ErrTimeout) {
			t.Errorf("the first caller got %v", err)
		}
		must(t, l.Close()) // and its link is gone
		l.Wait()
		second := make(chan string, 1)
		again := dial()
		go func() { second <- do(again, "k", "do", "slow") }()
		third := do(dial(), "k", "do", "slow")
		if got := <-second; got != "slow 1" || third != got || time.Since(began) != time.Minute || n.ran.Load() != 1 {
			t.Errorf("%s and %s after %v, %d runs", got, third, time.Since(began), n.ran.Load())
		}
	})
}

// TestOnceClose: the end of the table ends what runs.
func TestOnceClose(t *testing.T) {
	onced(t, rpc.OnceConfig{}, func(t *testing.T, n *counter, dial func() *rpc.Link) {
		l := dial()
		got := make(chan string, 1)
		go func() { got <- do(l, "k", "do", "slow") }()
		synctest.Wait()
		must(t, n.once.Close())
		if s := <-got; s != "Canceled: context canceled" {
			t.Errorf("the caller got %s", s)
		}
		if s := do(l, "new", "do", "x"); s != "RemoteError: rpc: closed" {
			t.Errorf("after the close: %s", s)
		}
	})
}

func TestOnceBounds(t *testing.T) {
	onced(t, rpc.OnceConfig{MaxKeys: 8}, func(t *testing.T, n *counter, dial func() *rpc.Link) {
		l := dial()
		for i := range 4 {
			if got := do(l, fmt.Sprint(i), "do", "x"); got != fmt.Sprint("x ", i+1) {
				t.Errorf("call %d: %s", i, got)
			}
		}
		if got := do(l, "5th", "do", "x"); !strings.HasPrefix(got, "Busy: 4 idempotency keys") {
			t.Errorf("with half of the keys in use: %s", got)
		}
		if got := do(l, "0", "do", "x"); got != "x 1" || n.ran.Load() != 4 {
			t.Errorf("a known key is answered by %s, %d runs", got, n.ran.Load())
		}
	})
	onced(t, rpc.OnceConfig{MaxBytes: 2500}, func(t *testing.T, n *counter, dial func() *rpc.Link) {
		l := dial()
		for i := range 4 {
			if got := do(l, fmt.Sprint(i), "do", "big"); len(got) != 1000 {
				t.Errorf("call %d: %s", i, got)
			}
		}
		for i, want := range []string{"ResultGone", "ResultGone", "xxxxx", "xxxxx"} {
			if got := do(l, fmt.Sprint(i), "do", "big"); !strings.HasPrefix(got, want) {
				t.Errorf("result %d: %.60s, want %s", i, got, want)
			}
		}
		slow := make(chan string, 1)
		go func() { slow <- do(l, "slow", "do", "slow") }()
		synctest.Wait()
		if got := do(l, "large", "other", strings.Repeat("x", 2600)); !strings.HasPrefix(got, "Busy: calls with idempotency keys hold") {
			t.Errorf("arguments beyond the bytes: %s", got)
		}
		<-slow
		if n.ran.Load() != 5 {
			t.Errorf("%d runs", n.ran.Load())
		}
	})
}
