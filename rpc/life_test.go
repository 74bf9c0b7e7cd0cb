package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"longshore/rpc"
)

// TestLongCall: a call and a stream of our own last as long as they like, and
// in a bubble that costs nothing.
func TestLongCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		at, stop := server(t, tr, "x", rpc.Config{Methods: rpc.Methods{
			"sleep": rpc.Unary("", "s", func(_ context.Context, _ *rpc.Call, s int) (int, error) {
				time.Sleep(time.Duration(s) * time.Second)
				return s, nil
			}),
			"tick": {Stream: func(_ context.Context, _ *rpc.Call, send func(any) error) error {
				for i := range 10 {
					time.Sleep(10 * time.Minute)
					synctest.Wait()
					if err := send(i); err != nil {
						return err
					}
				}
				return nil
			}},
		}})
		l, err := rpc.Dial(t.Context(), tr, at, rpc.Config{})
		must(t, err)
		began := time.Now()
		var got int
		must(t, l.Call(t.Context(), "sleep", &got, 3600))
		if d := time.Since(began); got != 3600 || d != time.Hour {
			t.Errorf("%d after %v", got, d)
		}
		s, err := l.Stream(t.Context(), "tick")
		must(t, err)
		for range 10 {
			must(t, s.Next(nil))
		}
		if err := s.Next(nil); !errors.Is(err, io.EOF) {
			t.Errorf("the end is %v", err)
		}
		must(t, l.Close())
		l.Wait()
		stop()
	})
}

// TestPartition: a network that swallows everything loses the calls in 15 s at
// both ends; a cut one at once.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		cause := make(chan error, 2)
		at, stop := server(t, tr, "x", rpc.Config{Methods: rpc.Methods{"wait": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (int, error) {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return 0, nil
		})}})
		l, err := rpc.Dial(t.Context(), tr, at, rpc.Config{Identity: "n1"})
		must(t, err)
		gone := make(chan error, 1)
		call := func() { gone <- l.Call(t.Context(), "wait", nil) }
		go call()
		synctest.Wait()
		began := time.Now()
		tr.Messages(func(h rpc.Hop) rpc.Fate { return rpc.Fate{Drop: h.Identity == "n1"} })
		for _, c := range []<-chan error{gone, cause} {
			if err := <-c; !errors.Is(err, rpc.ErrLostRemote) || time.Since(began) != 15*time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		tr.Messages(func(rpc.Hop) rpc.Fate { return rpc.Fate{Delay: 3 * time.Second} })
		began = time.Now()
		must(t, l.Call(t.Context(), "_zerorpc_ping", nil))
		if d := time.Since(began); d != 6*time.Second {
			t.Errorf("a call took %v at 3 s each way", d)
		}
		tr.Messages(nil)
		time.Sleep(3 * time.Second) // a late heartbeat is still under way, and order is kept
		go call()
		synctest.Wait()
		if n := tr.Cut(func(identity, addr string) bool { return identity == "n1" && addr == "x" }); n != 1 {
			t.Errorf("%d connections cut", n)
		}
		if err := <-gone; !errors.Is(err, rpc.ErrLostRemote) {
			t.Errorf("the call ended with %v", err)
		}
		if err := <-cause; !errors.Is(err, rpc.ErrLostRemote) {
			t.Errorf("the handler ended with %v", err)
		}
		<-l.Done()
		if err := l.Call(t.Context(), "wait", nil); !errors.Is(err, rpc.ErrLostRemote) {
			t.Errorf("a call on a lost link: %v", err)
		}
		l.Wait()
		stop()
	})
}

func TestOnLink(t *testing.T) {
	for _, n := range networks() {
		t.Run(n.name, func(t *testing.T) {
			tr, addr := n.make(t)
			var up, down atomic.Int32
			at, stop := server(t, tr, addr, rpc.Config{OnLink: func(ctx context.Context, l *rpc.Link) {
				var got string
				if err := l.Call(ctx, "_zerorpc_name", &got); err != nil || got != l.Peer().Name {
					t.Errorf("called back %q: %q, %v", l.Peer().Name, got, err)
				}
				up.Add(1)
				<-ctx.Done()
				down.Add(1)
			}})
			a := dial(t, tr, at, rpc.Config{Identity: "a"})
			dial(t, tr, at, rpc.Config{Identity: "b"})
			eventually(t, "both are up", func() bool { return up.Load() == 2 })
			must(t, a.Close())
			eventually(t, "one is down", func() bool { return down.Load() == 1 })
			stop()
			if down.Load() != 2 {
				t.Error("serve did not wait for OnLink")
			}
		})
	}
}

// TestPanicIsLogged and its stack stays here.
func TestPanicIsLogged(t *testing.T) {
	var log strings.Builder
	tr := rpc.Memory()
	at, stop := server(t, tr, "x", rpc.Config{Methods: house(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	err := dial(t, tr, at, rpc.Config{}).Call(within(t), "fail", nil, "panic")
	stop()
	if !strings.Contains(log.String(), "handler panicked") || !strings.Contains(log.String(), "link_test.go") {
		t.Errorf("logged %s", log.String())
	}
	if strings.Contains(err.Error(), ".go") {
		t.Errorf("the caller sees %v", err)
	}
}

// busy makes traffic of every kind on a link until it ends.
func busy(l *rpc.Link, wg *sync.WaitGroup) {
	ctx := context.Background()
	for range 3 {
		wg.Go(func() {
			for l.Call(ctx, "add", nil, 1, 2) == nil {
			}
		})
		wg.Go(func() {
			for {
				s, err := l.Stream(ctx, "count", 100)
				for err == nil {
					err = s.Next(nil)
				}
				if !errors.Is(err, io.EOF) {
					return
				}
			}
		})
		wg.Go(func() { _ = l.Call(ctx, "hang", nil) })
	}
}

// TestCloseUnderTraffic: either end may end at any time; nothing is left.
func TestCloseUnderTraffic(t *testing.T) {
	for _, n := range networks() {
		for _, who := range []string{"server", "client"} {
			t.Run(n.name+"/"+who, func(t *testing.T) {
				leaks := goleak.IgnoreCurrent()
				tr, addr := n.make(t)
				at, stop := server(t, tr, addr, rpc.Config{Methods: house()})
				var wg sync.WaitGroup
				var links []*rpc.Link
				for range 2 {
					l := dial(t, tr, at, rpc.Config{})
					links = append(links, l)
					busy(l, &wg)
				}
				for range 20 {
					must(t, links[0].Call(within(t), "add", nil, 1, 2))
				}
				began := time.Now()
				if who == "server" {
					stop()
				}
				for _, l := range links {
					must(t, l.Close())
					l.Wait()
				}
				stop()
				wg.Wait()
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("the end took %v", d)
				}
				if err := goleak.Find(leaks); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestRestarts: a server that is restarted 100 times under a busy sender is
// found again every time, and no call hangs.
func TestRestarts(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	for range 100 {
		l := dial(t, tr, at, rpc.Config{})
		var wg sync.WaitGroup
		var calls atomic.Int64
		for range 4 {
			wg.Go(func() {
				err := error(nil)
				for ; err == nil; err = l.Call(context.Background(), "add", nil, 1, 2) {
					calls.Add(1)
				}
				if !errors.Is(err, rpc.ErrLostRemote) {
					t.Errorf("a call ended with %v", err)
				}
			})
		}
		eventually(t, "calls flow", func() bool { return calls.Load() > 20 })
		stop()
		wg.Wait()
		l.Wait()
		_, stop = server(t, tr, at, rpc.Config{Methods: house()})
	}
}

// TestSlowCaller: a caller that asks for much and reads nothing is dropped;
// others on the same server do not notice.
func TestSlowCaller(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	gone := make(chan error, 1)
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: rpc.Methods{
		"big":  rpc.Nullary("", func(context.Context, *rpc.Call) ([]byte, error) { return make([]byte, 1<<20), nil }),
		"peer": house()["peer"],
	}, OnLink: func(ctx context.Context, l *rpc.Link) {
		<-ctx.Done()
		if l.Peer().Name == "slow" {
			gone <- l.Err()
		}
	}})
	conn, err := tr.Dial(within(t), at, "slow")
	must(t, err)
	defer conn.Close()
	p := &puppet{t, conn}
	for i := range 64 {
		p.ask(fmt.Sprint(i), "big")
	}
	good := dial(t, tr, at, rpc.Config{})
	for over := false; !over; {
		must(t, good.Call(within(t), "peer", nil))
		select {
		case err := <-gone:
			if !errors.Is(err, rpc.ErrSlowPeer) {
				t.Errorf("dropped for %v", err)
			}
			over = true
		default:
		}
	}
}

// TestHandshakesAreClosed: a refused handshake is closed at once, and the
// listener when it ends.
func TestHandshakesAreClosed(t *testing.T) {
	at, stop := server(t, rpc.ZMQ(rpc.ZMQOptions{}), "tcp://127.0.0.1:0", rpc.Config{})
	for range 50 {
		c := raw(t, at)
		_, err := c.Write(append(greeting(), ready("PUB")...))
		must(t, err)
		hungUp(t, c)
	}
	stop()
	if c, err := net.Dial("tcp", strings.TrimPrefix(at, "tcp://")); err == nil {
		_ = c.Close()
		t.Error("somebody still listens")
	}
}

// TestLostStream: a stream whose link goes down never looks as if it had ended
// well.
func TestLostStream(t *testing.T) {
	for _, n := range networks() {
		t.Run(n.name, func(t *testing.T) {
			tr, addr := n.make(t)
			at, stop := server(t, tr, addr, rpc.Config{Methods: house()})
			l := dial(t, tr, at, rpc.Config{})
			s, err := l.Stream(within(t), "count", 1000)
			must(t, err)
			must(t, s.Next(nil))
			stop()
			for err == nil {
				err = s.Next(nil)
			}
			if errors.Is(err, io.EOF) || !errors.Is(err, rpc.ErrLostRemote) {
				t.Errorf("ended with %v", err)
			}
			if err := l.Call(within(t), "add", nil, 1, 2); errors.Is(err, io.EOF) || !errors.Is(err, rpc.ErrLostRemote) {
				t.Errorf("a call on it: %v", err)
			}
		})
	}
}
