package rpc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// greeting is the first 64 bytes of a ZMTP 3.0 peer with the NULL mechanism.
func greeting() []byte {
	b := make([]byte, 64)
	b[0], b[9], b[10] = 0xff, 0x7f, 3
	copy(b[12:], "NULL")
	return b
}

// command is a ZMTP command frame.
func command(name string, body []byte) []byte {
	b := append([]byte{4, byte(1 + len(name) + len(body)), byte(len(name))}, name...)
	return append(b, body...)
}

func property(name, value string) []byte {
	b := append([]byte{byte(len(name))}, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

func ready(kind string) []byte {
	return command("READY", append(property("Socket-Type", kind), property("Identity", "foe")...))
}

// raw is a TCP connection to a listener of ours.
func raw(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(addr, "tcp://"))
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	must(tb, c.SetDeadline(time.Now().Add(wait)))
	return c
}

// hungUp waits until the other end has closed c.
func hungUp(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection was not closed")
	}
}

// TestHostile: what a stranger sends before or after the handshake costs him
// his connection, and nobody else anything.
func TestHostile(t *testing.T) {
	long := func(flags byte, size uint64) []byte {
		return binary.BigEndian.AppendUint64([]byte{flags}, size)
	}
	hello := func(more ...[]byte) []byte {
		return bytes.Join(append([][]byte{greeting(), ready("DEALER")}, more...), nil)
	}
	endless := bytes.Repeat([]byte{1, 0}, 1000)
	tests := map[string][]byte{
		"noise":                 bytes.Repeat([]byte("GET / HTTP/1.0\r\n"), 10),
		"version 2":             append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1}, make([]byte, 53)...),
		"other mechanism":       bytes.Replace(greeting(), []byte("NULL"), []byte("PLAI"), 1),
		"ready cut":             append(greeting(), command("READY", property("Socket-Type", "DEALER")[:9])...),
		"ready huge value":      append(greeting(), command("READY", []byte{1, 'x', 255, 255, 255, 255})...),
		"ready long key":        append(greeting(), command("READY", []byte{200, 'x'})...),
		"ready of no type":      append(greeting(), command("READY", nil)...),
		"unknown socket type":   append(greeting(), ready("NONSENSE")...),
		"wrong socket type":     append(greeting(), ready("PUB")...),
		"empty command":         append(greeting(), 4, 0),
		"command of 2^62":       append(greeting(), long(6, 1<<62)...),
		"frame before ready":    append(greeting(), 0, 1, 1),
		"frame of 2^62":         hello(long(2, 1<<62)),
		"frame of 2^64-1":       hello(long(2, 1<<64-1)),
		"frame of 200 GiB":      hello(long(2, 200<<30)),
		"frame one too big":     hello(long(2, rpc.MaxFrame+1)),
		"endless multipart":     hello(endless),
		"too much in all":       hello(bytes.Repeat(append(long(3, 4<<20), make([]byte, 4<<20)...), 5)),
		"reserved flags":        hello([]byte{0x80, 1, 1}),
		"command in a message":  hello([]byte{1, 1, 1}, command("PING", []byte{0, 0})),
		"command too long":      hello(long(6, 5000)),
		"no msgpack":            hello([]byte{0, 3, 0xc1, 0xc1, 0xc1}),
		"second ready and junk": hello(ready("DEALER"), []byte{0, 1, 0xc1}),
	}
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	good := dial(t, tr, at, rpc.Config{})
	for name, b := range tests {
		c := raw(t, at)
		_, _ = c.Write(b) // may be refused half way
		hungUp(t, c)
		began := time.Now()
		must(t, good.Call(within(t), "add", nil, 1, 2))
		if d := time.Since(began); d > wait/2 {
			t.Errorf("%s: a call beside it took %v", name, d)
		}
	}
	stop()
}

// TestSilent: peers that say nothing keep nobody waiting, are closed in time
// and do not hold up the end.
func TestSilent(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{Handshake: 2 * time.Second})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	var silent []net.Conn
	for _, first := range [][]byte{nil, greeting()[:5], greeting(), append(greeting(), 4, 200)} {
		c := raw(t, at)
		if first != nil {
			_, err := c.Write(first)
			must(t, err)
		}
		silent = append(silent, c)
	}
	l := dial(t, rpc.ZMQ(rpc.ZMQOptions{}), at, rpc.Config{})
	must(t, l.Call(within(t), "add", nil, 1, 2))
	for _, c := range silent {
		hungUp(t, c)
	}
	stop()
	at, stop = server(t, rpc.ZMQ(rpc.ZMQOptions{Handshake: time.Hour}), "tcp://127.0.0.1:0", rpc.Config{})
	raw(t, at)
	began := time.Now()
	stop()
	if d := time.Since(began); d > wait/2 {
		t.Errorf("the end took %v with a silent peer", d)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a silent listener, too
	must(t, err)
	defer ln.Close()
	if _, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{Handshake: 100 * time.Millisecond}), "tcp://"+ln.Addr().String(), rpc.Config{}); err == nil {
		t.Error("shook hands with nobody")
	}
}

func TestConnectionBounds(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{MaxConns: 3, MaxHands: 2})
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	a, b := raw(t, at), raw(t, at) // shaking hands, for ever
	// The listener takes connections in order, so the third finds two.
	c := raw(t, at)
	hungUp(t, c)
	_ = a.Close()
	_ = b.Close()
	var links []*rpc.Link
	eventually(t, "three links", func() bool {
		l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
		if err == nil {
			links = append(links, l)
		}
		return len(links) == 3
	})
	hungUp(t, raw(t, at))
	_ = links[0].Close()
	eventually(t, "room again", func() bool {
		l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
		if err == nil {
			links = append(links, l)
		}
		return err == nil
	})
	for _, l := range links {
		_ = l.Close()
		l.Wait()
	}
}

// TestPing: a libzmq peer with heartbeats gets its PONG, between messages, and
// the service never sees the PING.
func TestPing(t *testing.T) {
	at, _ := server(t, rpc.ZMQ(rpc.ZMQOptions{}), "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	c := raw(t, at)
	request, err := msgpack.Marshal([]any{map[string]any{"message_id": "m", "v": 3}, "add", []int{1, 2}})
	must(t, err)
	_, err = c.Write(bytes.Join([][]byte{greeting(), ready("DEALER"), command("PING", []byte("\x00\x0ahello")), {1, 0, 0, byte(len(request))}, request}, nil))
	must(t, err)
	in := bufio.NewReader(c)
	_, err = io.CopyN(io.Discard, in, 64)
	must(t, err)
	seen := map[string]bool{}
	for len(seen) < 3 {
		flags, err := in.ReadByte()
		must(t, err)
		size, err := in.ReadByte()
		must(t, err)
		body := make([]byte, size)
		_, err = io.ReadFull(in, body)
		must(t, err)
		switch {
		case flags == 4 && bytes.HasPrefix(body, []byte("\x05READY")):
			seen["ready"] = true
		case flags == 4 && bytes.Equal(body, []byte("\x04PONGhello")):
			seen["pong"] = true
		case flags == 0 && bytes.Contains(body, []byte("OK")):
			seen["ok"] = true
		case flags != 1 || size != 0:
			t.Fatalf("flags %d, %q", flags, body)
		}
	}
}

// TestStockSockets: zmq4's own sockets, as foreign peers, are served and can
// be dialled.
func TestStockSockets(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	request, err := msgpack.Marshal([]any{map[string]any{"message_id": "m", "v": 3}, "add", []int{1, 2}})
	must(t, err)
	for kind, make := range map[string]func(context.Context, ...zmq4.Option) zmq4.Socket{"DEALER": zmq4.NewDealer, "REQ": zmq4.NewReq} {
		s := make(within(t))
		must(t, s.Dial(at))
		frames := [][]byte{{}, request}
		if kind == "REQ" {
			frames = frames[1:] // it adds the delimiter itself
		}
		must(t, s.Send(zmq4.NewMsgFrom(frames...)))
		got, err := s.Recv()
		must(t, err)
		if last := got.Frames[len(got.Frames)-1]; !bytes.Contains(last, []byte("OK")) {
			t.Errorf("%s got %q", kind, last)
		}
		must(t, s.Close())
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	done := make(chan error, 1)
	go func() { done <- answerOnce(ln) }()
	l := dial(t, tr, "tcp://"+ln.Addr().String(), rpc.Config{Identity: "us"})
	var got string
	must(t, l.Call(within(t), "anything", &got))
	if got != "us" {
		t.Errorf("the router saw %q", got)
	}
	must(t, l.Close())
	must(t, receive(t, "router ends", done))
}

// answerOnce is a hand-written server on zmq4.Open: it answers one call with
// the name of the caller.
func answerOnce(ln net.Listener) error {
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	z, err := zmq4.Open(c, null.Security(), zmq4.Router, nil, true, nil)
	if err != nil {
		return err
	}
	msg, err := z.RecvMsg()
	if err != nil {
		return err
	}
	var e struct {
		_msgpack struct{} `msgpack:",as_array"`
		Header   map[string]any
		Name     string
		Args     any
	}
	if err := msgpack.Unmarshal(msg.Frames[1], &e); err != nil {
		return err
	}
	b, err := msgpack.Marshal([]any{map[string]any{"message_id": "s", "v": 3, "response_to": e.Header["message_id"]}, "OK", []any{z.Peer.Meta["Identity"]}})
	if err != nil {
		return err
	}
	if err := z.SendMsg(zmq4.NewMsgFrom([]byte{}, b)); err != nil {
		return err
	}
	_, err = z.RecvMsg() // until the caller closes
	if err == nil {
		err = errors.New("the caller said more")
	}
	if strings.Contains(err.Error(), "EOF") {
		return nil
	}
	return err
}

// TestTLSRefusals: strangers do not get in.
func TestTLSRefusals(t *testing.T) {
	ours := selfSigned(t)
	at, _ := server(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(ours)}), "tls://127.0.0.1:0", rpc.Config{Methods: house()})
	anonymous := ours.Clone()
	anonymous.Certificates = nil
	for name, opts := range map[string]rpc.ZMQOptions{
		"plain": {}, "another authority": {TLS: fixed(selfSigned(t))}, "no certificate": {TLS: fixed(anonymous)},
	} {
		opts.Handshake = time.Second
		to := at
		if opts.TLS == nil {
			to = strings.Replace(at, "tls://", "tcp://", 1)
		}
		if l, err := rpc.Dial(within(t), rpc.ZMQ(opts), to, rpc.Config{}); err == nil {
			err = l.Call(within(t), "add", nil, 1, 2)
			_ = l.Close()
			if err == nil {
				t.Errorf("%s: got in", name)
			}
		}
	}
	l := dial(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(ours)}), at, rpc.Config{})
	must(t, l.Call(within(t), "add", nil, 1, 2))
}
