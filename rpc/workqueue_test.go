package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"longshore/rpc"
)

// shop is a queue with its two doors.
type shop struct {
	t            *testing.T
	tr, workers  rpc.Transport
	front, back  string
	queue        *rpc.WorkQueue
	began, ended chan string // of calls of hold
	release      chan bool
}

func openShop(t *testing.T, tr rpc.Transport, front, back string) *shop {
	t.Helper()
	s := &shop{t: t, tr: tr, queue: &rpc.WorkQueue{}, began: make(chan string, 100), ended: make(chan string, 100), release: make(chan bool)}
	clients, err := tr.Listen(within(t), front)
	must(t, err)
	s.workers = rpc.ZMQ(rpc.ZMQOptions{Socket: rpc.DEALER})
	if _, memory := tr.(*rpc.MemoryTransport); memory {
		s.workers = tr
	}
	workers, err := s.workers.Listen(within(t), back)
	must(t, err)
	s.front, s.back = clients.Addr(), workers.Addr()
	running(t, func(ctx context.Context) error { return s.queue.Serve(ctx, clients, rpc.Config{}) })
	running(t, func(ctx context.Context) error {
		return rpc.Serve(ctx, workers, rpc.Config{OnLink: s.queue.Worker})
	})
	return s
}

// hire has a worker of ours come.
func (s *shop) hire(name string) *rpc.Link {
	methods := house()
	methods["hold"] = rpc.Nullary("", func(ctx context.Context, c *rpc.Call) (string, error) {
		var trace string
		_, _ = c.Header("trace", &trace)
		s.began <- name + trace
		defer func() { s.ended <- name }()
		select {
		case <-s.release:
			return name, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	})
	return dial(s.t, s.workers, s.back, rpc.Config{Identity: name, Methods: methods})
}

func (s *shop) client(cfg rpc.Config) *rpc.Link { return dial(s.t, s.tr, s.front, cfg) }

func TestWorkQueue(t *testing.T) {
	for name, s := range map[string]func(t *testing.T) *shop{
		"memory": func(t *testing.T) *shop { return openShop(t, rpc.Memory(), "front", "back") },
		"tcp": func(t *testing.T) *shop {
			return openShop(t, rpc.ZMQ(rpc.ZMQOptions{}), "tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
		},
	} {
		t.Run(name, func(t *testing.T) { s(t).business() })
	}
}

func (s *shop) business() {
	t := s.t
	l := s.client(rpc.Config{Invoke: []func(rpc.Invoker) rpc.Invoker{func(next rpc.Invoker) rpc.Invoker {
		return func(ctx context.Context, r *rpc.Request) error {
			r.Set("trace", "!")
			return next(ctx, r)
		}
	}}})
	answers := make(chan string, 10)
	hold := func(ctx context.Context) {
		var who string
		if err := l.Call(ctx, "hold", &who); err != nil {
			who = err.Error()
		}
		answers <- who
	}
	// It waits while there is nobody, and never gives one worker two calls.
	for range 3 {
		go hold(within(t))
	}
	s.hire("a")
	if who := receive(t, "a call begins", s.began); who != "a!" {
		t.Errorf("it began at %s", who)
	}
	b := s.hire("b")
	if who := receive(t, "another begins", s.began); who != "b!" {
		t.Errorf("it began at %s", who)
	}
	ctx, cancel := context.WithCancel(within(t))
	go hold(ctx) // waits as the fourth, and goes away
	cancel()
	if who := receive(t, "it goes", answers); !strings.Contains(who, "canceled") {
		t.Error(who)
	}
	s.release <- true
	free := receive(t, "one has ended", s.ended)
	if who := receive(t, "the third begins", s.began); who != free+"!" {
		t.Errorf("it began at %s, and %s is idle", who, free)
	}
	s.release <- true
	s.release <- true
	for range 3 {
		if who := receive(t, "an answer", answers); who != "a" && who != "b" {
			t.Error(who)
		}
	}

	// Answers of all kinds come through as they are.
	var sum int
	must(t, l.Call(within(t), "add", &sum, 1, 2))
	var remote *rpc.RemoteError
	if err := l.Call(within(t), "fail", nil, "named"); sum != 3 || !errors.As(err, &remote) || remote.Name != "Conflict" {
		t.Errorf("%d, %v", sum, err)
	}
	if err := l.Call(within(t), "nothing", nil); !errors.As(err, &remote) || remote.Name != rpc.NameUnknown {
		t.Error(err)
	}
	var names []string
	must(t, l.Call(within(t), "_zerorpc_list", &names))
	if len(names) != 9 {
		t.Errorf("methods %v", names)
	}
	for n, end := range map[int]string{1000: "EOF", 301: "RemoteError: odd"} {
		stream, err := l.Stream(within(t), "count", n)
		must(t, err)
		items, err := drain(stream)
		if len(items) != n || items[n-1] != int64(n-1) || err.Error() != end {
			t.Errorf("%d items of %d, %v", len(items), n, err)
		}
	}

	// Who goes away in the middle frees the worker; a lost worker is told.
	ctx, cancel = context.WithCancel(within(t))
	go hold(ctx)
	receive(t, "it begins", s.began)
	cancel()
	receive(t, "its handler ends", s.ended)
	receive(t, "it goes", answers)
	go hold(within(t))
	go hold(within(t))
	receive(t, "one begins", s.began)
	receive(t, "two begin", s.began)
	must(t, b.Close())
	if who := receive(t, "one is lost", answers); !strings.Contains(who, "LostRemote") {
		t.Error(who)
	}
	s.release <- true
	if who := receive(t, "the other is not", answers); who != "a" {
		t.Error(who)
	}
}

// stockWorker is a stock server that connects instead of binding: a ROUTER.
const stockWorker = `
import sys, zmq, msgpack
s = zmq.Context().socket(zmq.ROUTER)
s.LINGER, s.RCVTIMEO = 2000, 20000
s.connect(sys.argv[1])
n = 0
def recv():
    global route
    *route, event = s.recv_multipart()
    return msgpack.unpackb(event, raw=False)
def credits():
    header, name, args = recv()
    assert "response_to" in header, "another call, and this worker is busy"
    return args[0] if name == "_zpc_more" and header["response_to"] == channel else 0
def send(to, name, args):
    global n
    n += 1
    s.send_multipart(route + [msgpack.packb([{"message_id": b"%032d" % n, "v": 3, "response_to": to}, name, args], use_bin_type=True)])
while True:
    header, name, args = recv()
    channel = header["message_id"]
    if "response_to" in header:
        continue # late, of a stream that has ended
    if name == "end":
        send(channel, "OK", ["bye"])
        break
    if name == "fail":
        send(channel, "ERR", ["ValueError", "no", "Traceback: no"])
        continue
    credit = 1
    for i in range(args[0]):
        while credit == 0:
            credit += credits()
        send(channel, "STREAM", i)
        credit -= 1
    while credit == 0:
        credit += credits()
    send(channel, "STREAM_DONE", None)
`

func TestStockWorkers(t *testing.T) {
	s := openShop(t, rpc.ZMQ(rpc.ZMQOptions{}), "tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
	said := make(chan string, 2)
	for range 2 {
		cmd := exec.CommandContext(within(t), "/usr/bin/python3", "-c", stockWorker, s.back)
		go func() {
			out, err := cmd.CombinedOutput()
			said <- fmt.Sprint(string(out), err)
		}()
	}
	l := s.client(rpc.Config{})
	done := make(chan error, 10)
	for range 10 { // on two workers, each stream on its own
		go func() {
			stream, err := l.Stream(within(t), "count", 1000)
			if err != nil {
				done <- err
				return
			}
			items, err := drain(stream)
			if len(items) == 1000 && errors.Is(err, io.EOF) {
				err = nil
			}
			done <- err
		}()
	}
	for range 10 {
		must(t, receive(t, "a stream", done))
	}
	var remote *rpc.RemoteError
	if err := l.Call(within(t), "fail", nil); !errors.As(err, &remote) || remote.Name != "ValueError" || remote.Traceback != "Traceback: no" {
		t.Errorf("%#v", err)
	}
	for range 2 {
		must(t, l.Call(within(t), "end", nil))
		if out := receive(t, "a worker ends", said); out != "<nil>" {
			t.Error(out)
		}
	}
}
