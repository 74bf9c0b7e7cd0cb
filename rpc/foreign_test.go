package rpc_test

import (
	"bufio"
	"bytes"
	"context"
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
