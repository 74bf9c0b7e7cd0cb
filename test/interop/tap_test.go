package interop_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// message is one message of several frames as it went by.
type message struct {
	fromClient bool // from the end that dialled
	frames     [][]byte
}

// tap is a TCP proxy that reads ZMTP as it goes by.
type tap struct {
	addr string

	mu        sync.Mutex
	greetings map[bool][]byte // 64 bytes, by fromClient
	messages  []message       // in an order in which no answer comes before what it answers
	broken    error
}

// newTap listens and passes what comes on to target, a tcp:// address.
func newTap(t *testing.T, target string) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: "tcp://" + ln.Addr().String(), greetings: map[bool][]byte{}}
	var wg sync.WaitGroup
	var open []net.Conn
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
		if p.broken != nil {
			t.Error(p.broken)
		}
	})
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(target, "tcp://"))
			if err != nil {
				_ = client.Close() // the client tries again
				continue
			}
			p.mu.Lock()
			open = append(open, client, server)
			p.mu.Unlock()
			wg.Go(func() { p.pass(client, server, true) })
			wg.Go(func() { p.pass(server, client, false) })
		}
	})
	return p
}

// pass copies one direction until it ends, recording before it passes on.
func (p *tap) pass(from, to net.Conn, fromClient bool) {
	defer to.Close()
	w := wire{tap: p, fromClient: fromClient}
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		w.feed(buf[:n])
		if _, e := to.Write(buf[:n]); err != nil || e != nil {
			return
		}
	}
}

// wire splits one direction of a connection into messages.
type wire struct {
	tap        *tap
	fromClient bool
	greeted    bool
	rest       []byte
	frames     [][]byte
}

// feed takes the next bytes. Commands (READY, PING, PONG) are the transport's
// and are not kept.
func (w *wire) feed(b []byte) {
	w.tap.mu.Lock()
	defer w.tap.mu.Unlock()
	w.rest = append(w.rest, b...)
	if !w.greeted && len(w.rest) >= 64 {
		w.greeted = true
		w.tap.greetings[w.fromClient] = bytes.Clone(w.rest[:64])
		w.rest = w.rest[64:]
	}
	for w.greeted {
		flags, body, size := split(w.rest)
		if size == 0 {
			return
		}
		if flags&^7 != 0 || size > 1<<20 {
			w.tap.broken = fmt.Errorf("what the tap saw is no ZMTP: flags %x, %d bytes", flags, size)
			return
		}
		w.rest = w.rest[size:]
		if flags&4 != 0 {
			continue
		}
		w.frames = append(w.frames, bytes.Clone(body))
		if flags&1 == 0 {
			w.tap.messages = append(w.tap.messages, message{w.fromClient, w.frames})
			w.frames = nil
		}
	}
}

// split reads one ZMTP frame; size is that of the whole, 0 while it is not
// whole.
func split(b []byte) (flags byte, body []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	head, length := 2, int(b[1])
	if b[0]&2 != 0 {
		if len(b) < 9 {
			return 0, nil, 0
		}
		head, length = 9, int(binary.BigEndian.Uint64(b[1:]))
	}
	if length < 0 || len(b) < head+length {
		return 0, nil, 0
	}
	return b[0], b[head : head+length], head + length
}

// seen is what went by until now.
func (p *tap) seen() []message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]message(nil), p.messages...)
}
