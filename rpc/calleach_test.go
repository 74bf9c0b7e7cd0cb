package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"longshore/rpc"
)

func TestCallEach(t *testing.T) {
	for _, n := range networks() {
		t.Run(n.name, func(t *testing.T) {
			tr, addr := n.make(t)
			var hanging atomic.Int32
			methods := func(i int) rpc.Methods {
				return rpc.Methods{
					"who": rpc.Unary("", "x", func(_ context.Context, _ *rpc.Call, x string) (any, error) {
						switch i {
						case 3:
							return nil, errors.New("not I")
						case 4:
							return nil, nil
						}
						return fmt.Sprint(x, i), nil
					}),
					"hang": rpc.Nullary("", func(ctx context.Context, c *rpc.Call) (int, error) {
						if i == 5 {
							return 5, nil
						}
						hanging.Add(1)
						defer hanging.Add(-1)
						return hang(ctx, c)
					}),
				}
			}
			var links []*rpc.Link
			for i := range 10 {
				at, stop := server(t, tr, differently(addr, i), rpc.Config{Methods: methods(i)})
				cfg := rpc.Config{}
				if i%5 == 1 || i == 4 { // some have middleware
					cfg.Invoke = []func(rpc.Invoker) rpc.Invoker{func(next rpc.Invoker) rpc.Invoker { return next }}
				}
				links = append(links, dial(t, tr, at, cfg))
				if i == 7 {
					stop()
					<-links[7].Done()
				}
			}
			seen := map[int]string{}
			for i, a := range rpc.CallEach(within(t), links, "who", "I am ") {
				said := "nothing"
				if err := a.Decode(&said); err != nil {
					said = err.Error()
					if i == 7 != errors.Is(err, rpc.ErrLostRemote) {
						t.Errorf("%d failed with %v", i, err)
					}
				}
				if _, twice := seen[i]; twice {
					t.Errorf("%d answered twice", i)
				}
				seen[i] = said
			}
			for i := range links {
				want := fmt.Sprint("I am ", i)
				switch i {
				case 3:
					want = "RemoteError: not I"
				case 4:
					want = ""
				case 7:
					continue
				}
				if seen[i] != want {
					t.Errorf("%d said %q, want %q", i, seen[i], want)
				}
			}

			// Leaving the loop and the end of the context cancel what runs.
			for i, a := range rpc.CallEach(within(t), links, "hang") {
				if i == 7 {
					continue // down, and told at once
				}
				if i != 5 || a.Decode(nil) != nil {
					t.Errorf("%d answered: %v", i, a.Decode(nil))
				}
				eventually(t, "the others hang", func() bool { return hanging.Load() == 8 })
				break
			}
			eventually(t, "they are cancelled", func() bool { return hanging.Load() == 0 })
			ctx, cancel := context.WithCancel(within(t))
			ends := 0
			for i, a := range rpc.CallEach(ctx, links, "hang") {
				if i == 5 {
					eventually(t, "the others hang", func() bool { return hanging.Load() == 8 })
					cancel()
				} else if err := a.Decode(nil); i != 7 && !errors.Is(err, context.Canceled) {
					t.Errorf("%d ended with %v", i, err)
				}
				ends++
			}
			if ends != len(links) {
				t.Errorf("%d of %d calls ended", ends, len(links))
			}
			cancel()
			eventually(t, "they are cancelled", func() bool { return hanging.Load() == 0 })
			for _, err := range map[string]error{"channel": each(links, make(chan int)), "context": eachEnded(links)} {
				if err == nil {
					t.Error("a call that cannot be made was")
				}
			}
		})
	}
}

// differently makes an address that is not in use out of one for one listener.
func differently(addr string, i int) string {
	if addr[0] == 't' {
		return addr // a port of its own
	}
	return fmt.Sprint(addr, i)
}

func each(links []*rpc.Link, arg any) error {
	for _, a := range rpc.CallEach(context.Background(), links[:1], "who", arg) {
		return a.Decode(nil)
	}
	return nil
}

func eachEnded(links []*rpc.Link) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, a := range rpc.CallEach(ctx, links[:1], "who", "x") {
		return a.Decode(nil)
	}
	return nil
}
