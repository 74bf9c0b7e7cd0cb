package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"longshore/rpc"
)

// oneWay is a transport for both ends of a one-way pattern.
func oneWay(t *testing.T, name string, from, to rpc.Socket) (sends, takes rpc.Transport, addr string) {
	t.Helper()
	if name == "memory" {
		tr := rpc.Memory()
		return tr, tr, "x"
	}
	return rpc.ZMQ(rpc.ZMQOptions{Socket: from, Handshake: wait}), rpc.ZMQ(rpc.ZMQOptions{Socket: to, Handshake: wait}), "tcp://127.0.0.1:0"
}

// running runs f until the test ends, which waits for it.
func running(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

// takers are the methods of a receiving end: note passes its argument on.
func takers(got chan<- string) rpc.Config {
	return rpc.Config{Methods: rpc.Methods{
		"note": rpc.Unary("", "text", func(_ context.Context, _ *rpc.Call, text string) (any, error) {
			got <- text
			return nil, nil
		}),
		"fail":   rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { return nil, errors.New("as told") }),
		"panic":  rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { panic("as told") }),
		"stream": house()["count"],
	}}
}

func TestPublish(t *testing.T) {
	for _, name := range []string{"memory", "tcp"} {
		for _, listens := range []string{"publisher", "subscriber"} {
			t.Run(name+"/"+listens, func(t *testing.T) {
				sends, takes, addr := oneWay(t, name, rpc.PUB, rpc.SUB)
				p, err := rpc.Publisher(rpc.Config{})
				must(t, err)
				var got []chan string
				if listens == "publisher" {
					l, err := sends.Listen(within(t), addr)
					must(t, err)
					running(t, func(ctx context.Context) error { return p.Serve(ctx, l) })
					addr = l.Addr()
				}
				for i := range 3 {
					got = append(got, make(chan string, 10_000))
					s, err := rpc.Subscriber(takers(got[i]))
					must(t, err)
					if listens == "publisher" {
						running(t, func(ctx context.Context) error { return s.Keep(ctx, takes, addr) })
						continue
					}
					l, err := takes.Listen(within(t), strings.Replace(addr, "x", fmt.Sprint("x", i), 1))
					must(t, err)
					running(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
					running(t, func(ctx context.Context) error { return p.Keep(ctx, sends, l.Addr()) })
				}
				for _, c := range got { // until all have come
					eventually(t, "a subscriber hears", func() bool {
						must(t, p.Send(within(t), "note", "early"))
						return len(c) > 0
					})
				}
				for i := range 1000 {
					must(t, p.Send(within(t), "note", fmt.Sprint(i)))
					if i%100 == 0 { // what fails must not be in the way of the next
						must(t, p.Send(within(t), []string{"fail", "panic", "stream", "unknown"}[i/100%4], i))
					}
				}
				for _, c := range got {
					text := "early"
					for text == "early" {
						text = receive(t, "an event", c)
					}
					for i := range 1000 {
						if text != fmt.Sprint(i) {
							t.Fatalf("event %d is %s", i, text)
						}
						if i < 999 {
							text = receive(t, "an event", c)
						}
					}
				}
			})
		}
	}
}

func TestPush(t *testing.T) {
	for _, name := range []string{"memory", "tcp"} {
		t.Run(name, func(t *testing.T) {
			sends, takes, addr := oneWay(t, name, rpc.PUSH, rpc.PULL)
			p, err := rpc.Pusher(rpc.Config{})
			must(t, err)
			l, err := sends.Listen(within(t), addr)
			must(t, err)
			running(t, func(ctx context.Context) error { return p.Serve(ctx, l) })

			ctx, cancel := context.WithCancel(within(t))
			cancel()
			if err := p.Send(ctx, "note", "x"); !errors.Is(err, context.Canceled) {
				t.Errorf("with nobody there: %v", err)
			}
			if err := p.Send(within(t), "note", make(chan int)); err == nil {
				t.Error("sent a channel")
			}
			sent := make(chan error, 1)
			go func() { sent <- p.Send(within(t), "note", "waited") }()
			each := []chan string{make(chan string, 10_000), make(chan string, 10_000)}
			for _, c := range each {
				pull, err := rpc.Puller(takers(c))
				must(t, err)
				running(t, func(ctx context.Context) error { return pull.Keep(ctx, takes, l.Addr()) })
			}
			must(t, receive(t, "it is sent", sent))
			n := 1
			eventually(t, "both have a part", func() bool {
				must(t, p.Send(within(t), "note", fmt.Sprint(n)))
				n++
				return len(each[0]) > 0 && len(each[1]) > 0
			})
			var texts []string
			for range n {
				select {
				case text := <-each[0]:
					texts = append(texts, text)
				case text := <-each[1]:
					texts = append(texts, text)
				case <-time.After(wait):
					t.Fatalf("%d of %d events came", len(texts), n)
				}
			}
			slices.Sort(texts)
			if len(slices.Compact(texts)) != n {
				t.Errorf("%d of %d events came once", len(slices.Compact(texts)), n)
			}
		})
	}
}

// stockPatterns is the other end on libzmq, as the stock classes have it: one
// frame an event, to be had whole.
const stockPatterns = `
import sys, time, zmq, msgpack
role, addr = sys.argv[1:]
s = zmq.Context().socket(getattr(zmq, role))
s.LINGER, s.RCVTIMEO, s.SNDTIMEO = 2000, 20000, 20000
if role == "SUB":
    s.setsockopt(zmq.SUBSCRIBE, b"")
s.connect(addr)
if role in ("SUB", "PULL"):
    while True:
        [event] = s.recv_multipart()
        header, name, args = msgpack.unpackb(event, raw=False)
        assert header["v"] == 3 and len(header["message_id"]) == 32 and "response_to" not in header, header
        if (name, args) == ("note", ["last"]):
            break
        assert (name, args) == ("note", ["first"]), (name, args)
else:
    for i in range(100):
        s.send(msgpack.packb([{"message_id": b"%032d" % i, "v": 3}, "note", ["x"]], use_bin_type=True))
        time.sleep(0.01) # a subscription takes its time
print("ok")
`

func TestStockPatterns(t *testing.T) {
	python := func(t *testing.T, role, addr string) <-chan string {
		said := make(chan string, 1)
		cmd := exec.CommandContext(within(t), "/usr/bin/python3", "-c", stockPatterns, role, addr)
		go func() {
			out, err := cmd.CombinedOutput()
			said <- fmt.Sprint(string(out), err)
		}()
		return said
	}
	for theirs, ours := range map[string]rpc.Socket{"SUB": rpc.PUB, "PULL": rpc.PUSH, "PUB": rpc.SUB, "PUSH": rpc.PULL} {
		t.Run(theirs, func(t *testing.T) {
			l, err := rpc.ZMQ(rpc.ZMQOptions{Socket: ours}).Listen(within(t), "tcp://127.0.0.1:0")
			must(t, err)
			got := make(chan string, 1000)
			switch ours {
			case rpc.PUB, rpc.PUSH:
				make := map[rpc.Socket]func(rpc.Config) (*rpc.Outlet, error){rpc.PUB: rpc.Publisher, rpc.PUSH: rpc.Pusher}[ours]
				p, err := make(rpc.Config{})
				must(t, err)
				running(t, func(ctx context.Context) error { return p.Serve(ctx, l) })
				said := python(t, theirs, l.Addr())
				must(t, p.Send(within(t), "note", "first"))
				eventually(t, "it has heard", func() bool {
					if len(said) == 0 {
						must(t, p.Send(within(t), "note", "last"))
					}
					return len(said) > 0 || ours == rpc.PUSH
				})
				if s := receive(t, "it ends", said); s != "ok\n<nil>" {
					t.Error(s)
				}
			default:
				make := map[rpc.Socket]func(rpc.Config) (*rpc.Inlet, error){rpc.SUB: rpc.Subscriber, rpc.PULL: rpc.Puller}[ours]
				in, err := make(takers(got))
				must(t, err)
				running(t, func(ctx context.Context) error { return in.Serve(ctx, l) })
				said := python(t, theirs, l.Addr())
				if text := receive(t, "an event", got); text != "x" {
					t.Error(text)
				}
				if s := receive(t, "it ends", said); s != "ok\n<nil>" {
					t.Error(s)
				}
			}
		})
	}
}
