package rpc_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// puppet is a hand-written ZeroRPC peer: it sends what a test tells it to.
type puppet struct {
	t    *testing.T
	conn rpc.Conn
}

// event is one event as it came over the wire.
type event struct {
	Frames int
	Header map[string]any
	Name   string
	Args   any
}

// beat is whether e is a heartbeat.
func (e event) beat() bool { return e.Name == "_zpc_hb" }

func (p *puppet) send(envelope [][]byte, header map[string]any, name string, args any) {
	p.t.Helper()
	b, err := msgpack.Marshal([]any{header, name, args})
	must(p.t, err)
	must(p.t, p.conn.Send(append(envelope, b)))
}

// ask opens a channel.
func (p *puppet) ask(id any, name string, args ...any) {
	p.t.Helper()
	if args == nil {
		args = []any{}
	}
	p.send([][]byte{{}}, map[string]any{"message_id": id, "v": 3}, name, args)
}

// on sends an event on a channel.
func (p *puppet) on(channel any, name string, args any) {
	p.t.Helper()
	p.send([][]byte{{}}, map[string]any{"message_id": "x", "v": 3, "response_to": channel}, name, args)
}

func (p *puppet) recv() event {
	p.t.Helper()
	frames, err := p.conn.Recv()
	must(p.t, err)
	e := event{Frames: len(frames)}
	dec := msgpack.NewDecoder(bytes.NewReader(frames[len(frames)-1]))
	if n, err := dec.DecodeArrayLen(); err != nil || n != 3 {
		p.t.Fatalf("an event of %d parts, %v", n, err)
	}
	must(p.t, dec.Decode(&e.Header))
	must(p.t, dec.Decode(&e.Name))
	must(p.t, dec.Decode(&e.Args))
	return e
}

// recvNoBeat skips heartbeats.
func (p *puppet) recvNoBeat() event {
	for {
		if e := p.recv(); !e.beat() {
			return e
		}
	}
}

// facingServer runs f in a bubble with a puppet that dialled our server.
func facingServer(t *testing.T, cfg rpc.Config, f func(p *puppet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		at, stop := server(t, tr, "x", cfg)
		conn, err := tr.Dial(t.Context(), at, "puppet")
		must(t, err)
		f(&puppet{t, conn})
		must(t, conn.Close())
		stop()
	})
}

// facingClient runs f in a bubble with a link of ours to a puppet that listens.
func facingClient(t *testing.T, f func(l *rpc.Link, p *puppet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		ln, err := tr.Listen(t.Context(), "x")
		must(t, err)
		got := make(chan rpc.Conn, 1)
		go func() {
			c, _ := ln.Accept(t.Context())
			got <- c
		}()
		l, err := rpc.Dial(t.Context(), tr, "x", rpc.Config{Identity: "us", Methods: house()})
		must(t, err)
		p := &puppet{t, <-got}
		f(l, p)
		must(t, l.Close())
		l.Wait()
		must(t, p.conn.Close())
		must(t, ln.Close())
	})
}
