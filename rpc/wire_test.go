package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// puppet is a hand-written ZeroRPC peer: it sends what a test tells it to.
type puppet struct {
	t    testing.TB
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
func facingServer(t *testing.T, cfg rpc.Config, f func(t *testing.T, p *puppet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		at, stop := server(t, tr, "x", cfg)
		conn, err := tr.Dial(t.Context(), at, "puppet")
		must(t, err)
		f(t, &puppet{t, conn})
		must(t, conn.Close())
		stop()
	})
}

// facingClient runs f in a bubble with a link of ours to a puppet that listens.
func facingClient(t *testing.T, f func(t *testing.T, l *rpc.Link, p *puppet)) {
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
		f(t, l, p)
		must(t, l.Close())
		l.Wait()
		must(t, p.conn.Close())
		must(t, ln.Close())
	})
}

func TestServerAnswers(t *testing.T) {
	facingServer(t, rpc.Config{Methods: house()}, func(t *testing.T, p *puppet) {
		for _, id := range []any{"a text id", []byte("a bin id"), bytes.Repeat([]byte("b"), 32), long(36), int8(7)} {
			p.ask(id, "add", 1, 2)
			e := p.recv()
			if !reflect.DeepEqual(e.Header["response_to"], id) {
				t.Errorf("id %#v came back as %#v", id, e.Header["response_to"])
			}
			own, ok := e.Header["message_id"].([]byte)
			if !ok || len(own) != 32 || e.Header["v"] != int8(3) || len(e.Header) != 3 {
				t.Errorf("header %#v", e.Header)
			}
			if e.Name != "OK" || fmt.Sprint(e.Args) != "[3]" || e.Frames != 2 {
				t.Errorf("answered %+v", e)
			}
		}
		p.ask("e", "fail", "so")
		if e := p.recv(); e.Name != "ERR" || !reflect.DeepEqual(e.Args, []any{"RemoteError", "so", nil}) {
			t.Errorf("an error came as %#v", e)
		}
		p.ask("d", "count", 0)
		if e := p.recv(); e.Name != "STREAM_DONE" || e.Args != nil {
			t.Errorf("the end of a stream came as %#v", e)
		}
		p.send([][]byte{[]byte("hop"), []byte("hop2"), {}}, map[string]any{"message_id": "m", "v": 2, "trace": "x"}, "add", []any{1, 2})
		if e := p.recv(); e.Frames != 4 || e.Name != "OK" {
			t.Errorf("the envelope is not echoed: %+v", e)
		}
		p.send(nil, map[string]any{"message_id": "m", "v": 3}, "_zerorpc_ping", nil)
		if e := p.recv(); e.Frames != 1 || e.Name != "OK" {
			t.Errorf("without envelope: %+v", e)
		}
		p.send(nil, map[string]any{"message_id": "m"}, "add", []any{1, 2})
		if e := p.recv(); e.Name != "ERR" || e.Args.([]any)[0] != rpc.NameUnsupported {
			t.Errorf("version 1: %+v", e)
		}
		p.on("nobody", "OK", []any{1})        // late events are dropped
		p.on("nobody", "_zpc_hb", []any{0})   // likewise
		p.ask("stray", "_zpc_more", []any{1}) // belongs to no channel
		p.ask("again", "hang")
		p.ask("again", "add", 1, 2)
		if e := p.recv(); e.Name != "ERR" || e.Args.([]any)[0] != rpc.NameInvalid {
			t.Errorf("an id in use: %+v", e)
		}
	})
}

// TestServerCredits: a stream never sends more than it was given, however
// slowly that comes.
func TestServerCredits(t *testing.T) {
	facingServer(t, rpc.Config{Methods: house()}, func(t *testing.T, p *puppet) {
		p.ask("s", "count", 1000)
		got := 0
		items := func(want int) {
			t.Helper()
			deadline := time.After(20 * time.Second)
			events := make(chan event)
			stop := make(chan bool)
			go func() {
				for {
					e := p.recv()
					select {
					case events <- e:
					case <-stop:
						return
					}
					if e.beat() {
						p.on("s", "_zpc_hb", []any{0})
					}
				}
			}()
			n := 0
			for {
				select {
				case e := <-events:
					if e.beat() {
						continue
					}
					n++
					if e.Name != "STREAM" || fmt.Sprint(e.Args) != fmt.Sprint(got) {
						t.Fatalf("item %d is %+v", got, e)
					}
					got++
				case <-deadline:
					close(stop) // the reader takes one more heartbeat and ends
					p.on("s", "_zpc_hb", []any{0})
					synctest.Wait()
					time.Sleep(5 * time.Second)
					if n != want {
						t.Fatalf("%d items came, want %d", n, want)
					}
					return
				}
			}
		}
		items(1)
		for _, n := range []int{1, 10, 0, 100} {
			p.on("s", "_zpc_more", []any{n})
			items(n)
		}
		p.on("s", "_zpc_more", []any{"many"}) // not a number: ignored
		p.on("s", "_zpc_more", nil)
		items(0)
		p.on("s", "_zpc_more", []any{888})
		items(888)
		p.on("s", "_zpc_more", []any{1})
		if e := p.recvNoBeat(); e.Name != "STREAM_DONE" {
			t.Errorf("the end is %+v", e)
		}
	})
}

// TestClientCredits: nothing is asked for with the first item, then always up
// to 100 when fewer than 50 are under way or unread.
func TestClientCredits(t *testing.T) {
	facingClient(t, func(t *testing.T, l *rpc.Link, p *puppet) {
		s, err := l.Stream(t.Context(), "feed", 1)
		must(t, err)
		e := p.recv()
		id := e.Header["message_id"]
		if raw, ok := id.([]byte); !ok || len(raw) != 32 || e.Name != "feed" || fmt.Sprint(e.Args) != "[1]" || e.Frames != 2 {
			t.Fatalf("the request is %+v", e)
		}
		sent, taken := 0, 0
		feed := func(n int) {
			for range n {
				p.on(id, "STREAM", []any{sent})
				sent++
			}
		}
		take := func(n int) {
			t.Helper()
			for range n {
				var item []int
				must(t, s.Next(&item))
				if item[0] != taken {
					t.Fatalf("item %d is %v", taken, item)
				}
				taken++
			}
		}
		more := func(want string) {
			t.Helper()
			if e := p.recvNoBeat(); e.Name != "_zpc_more" || fmt.Sprint(e.Args) != want || !reflect.DeepEqual(e.Header["response_to"], id) {
				t.Fatalf("wanted credit %s, got %+v", want, e)
			}
		}
		feed(1)
		take(1)
		go func() { take(1) }()
		more("[100]")
		feed(100)
		synctest.Wait()
		take(50) // 51 of 100 taken: 49 left, so the next asks
		take(1)
		more("[51]")
		feed(51)
		take(99)
		more("[51]") // in between: 49 were left once more
		p.on(id, "STREAM_DONE", nil)
		if err := s.Next(nil); err != io.EOF {
			t.Errorf("the end is %v", err)
		}

		s, err = l.Stream(t.Context(), "feed", 2)
		must(t, err)
		id = p.recvNoBeat().Header["message_id"]
		sent, taken = 0, 0
		feed(150)
		synctest.Wait()
		for err = s.Next(nil); err == nil; err = s.Next(nil) {
			taken++
		}
		if taken > 101 || err == io.EOF {
			t.Errorf("of a peer that over-sends %d were taken, then %v", taken, err)
		}
	})
}

// TestServerHeartbeats: the server beats first (a stock command line client
// waits for that), and a client that never answers is lost at 15 s.
func TestServerHeartbeats(t *testing.T) {
	var ended chan time.Duration // made in the bubble
	cfg := rpc.Config{Methods: rpc.Methods{"wait": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (int, error) {
		began := time.Now()
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), rpc.ErrLostRemote) {
			t.Errorf("ended by %v", context.Cause(ctx))
		}
		ended <- time.Since(began)
		return 0, nil
	})}}
	facingServer(t, cfg, func(t *testing.T, p *puppet) {
		ended = make(chan time.Duration, 1)
		began := time.Now()
		p.ask([]byte("id"), "wait")
		for _, at := range []time.Duration{5 * time.Second, 10 * time.Second} {
			e := p.recv()
			if time.Since(began) != at || !e.beat() || fmt.Sprint(e.Args) != "[0]" || string(e.Header["response_to"].([]byte)) != "id" {
				t.Errorf("after %v came %+v", time.Since(began), e)
			}
		}
		if d := <-ended; d != 15*time.Second {
			t.Errorf("lost after %v", d)
		}
		p.ask([]byte("id2"), "wait")
		began = time.Now()
		for range 200 { // answered, it goes on
			if e := p.recv(); !e.beat() {
				t.Fatalf("got %+v", e)
			}
			p.on([]byte("id2"), "_zpc_hb", nil)
		}
		if d := time.Since(began); d != 1000*time.Second {
			t.Errorf("200 heartbeats took %v", d)
		}
		<-ended // 15 s after the last
	})
}

func TestClientHeartbeats(t *testing.T) {
	facingClient(t, func(t *testing.T, l *rpc.Link, p *puppet) {
		began := time.Now()
		go func() {
			for range 3 {
				p.recv()
			}
		}()
		err := l.Call(t.Context(), "anything", nil)
		if d := time.Since(began); !errors.Is(err, rpc.ErrLostRemote) || d != 15*time.Second {
			t.Errorf("after %v: %v", d, err)
		}
		if l.Err() != nil {
			t.Errorf("the link went down with one call: %v", l.Err())
		}
		// An answer after 31 s of heartbeats counts, and text ids are taken too.
		go func() {
			e := p.recvNoBeat()
			for range 6 {
				p.recv()
				p.on(e.Header["message_id"], "_zpc_hb", []any{0})
			}
			time.Sleep(time.Second)
			p.on(string(e.Header["message_id"].([]byte)), "OK", []any{5})
		}()
		began = time.Now()
		var got int
		must(t, l.Call(t.Context(), "anything", &got))
		if d := time.Since(began); got != 5 || d != 31*time.Second {
			t.Errorf("got %d after %v", got, d)
		}
	})
}

func TestClientCancels(t *testing.T) {
	facingClient(t, func(t *testing.T, l *rpc.Link, p *puppet) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		err := l.Call(ctx, "anything", nil)
		if !errors.Is(err, rpc.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		e := p.recv()
		if e.Header["deadline_ms"] != uint32(1500) && e.Header["deadline_ms"] != uint16(1500) {
			t.Errorf("deadline %#v", e.Header["deadline_ms"])
		}
		c := p.recv()
		if c.Name != "_zpc_cancel" || !reflect.DeepEqual(c.Header["response_to"], e.Header["message_id"]) {
			t.Errorf("cancelled by %+v", c)
		}
		if err := l.Call(ctx, "anything", nil); !errors.Is(err, rpc.ErrTimeout) {
			t.Errorf("called with an ended context: %v", err)
		}
	})
}

func TestServerDeadline(t *testing.T) {
	facingServer(t, rpc.Config{Methods: house()}, func(t *testing.T, p *puppet) {
		began := time.Now()
		p.send([][]byte{{}}, map[string]any{"message_id": "m", "v": 3, "deadline_ms": 1200}, "hang", []any{})
		e := p.recv()
		if e.Name != "ERR" || e.Args.([]any)[0] != rpc.NameTimeout || time.Since(began) != 1200*time.Millisecond {
			t.Errorf("after %v: %+v", time.Since(began), e)
		}
	})
}

// TestBadEvents: what cannot be decoded is answered when the header can be
// read; otherwise the link ends and nothing else.
func TestBadEvents(t *testing.T) {
	deep := append(bytes.Repeat([]byte{0x91}, 1_000_000), 0xc0)
	for name, args := range map[string][]byte{
		"deep":     deep,
		"huge":     {0x91, 0xdd, 0xff, 0xff, 0xff, 0xff},
		"huge map": {0x91, 0xdf, 0x7f, 0xff, 0xff, 0xff},
		"huge str": {0x91, 0xdb, 0xff, 0xff, 0xff, 0xff},
		"ext":      {0x91, 0xd6, 0xff, 0, 0, 0, 0},
		"trailing": {0x91, 0x01, 0x01},
		"short":    {0x92, 0x01},
		"many":     append([]byte{0xdd, 0, 1, 0x86, 0xa1}, make([]byte, 100_001)...),
		"map key":  {0x91, 0x81, 0x90, 0x01},
	} {
		facingServer(t, rpc.Config{Methods: house()}, func(t *testing.T, p *puppet) {
			b, err := msgpack.Marshal([]any{map[string]any{"message_id": "m", "v": 3}, "echo"})
			must(t, err)
			b[0] = 0x93
			must(t, p.conn.Send([][]byte{{}, append(b, args...)}))
			if e := p.recv(); e.Name != "ERR" || e.Args.([]any)[0] != rpc.NameInvalid {
				t.Errorf("%s: answered %+v", name, e)
			}
			p.ask("m", "add", 1, 2)
			if e := p.recv(); e.Name != "OK" {
				t.Errorf("%s: then %+v", name, e)
			}
		})
	}
	for name, b := range map[string][]byte{
		"empty": {}, "no array": {1}, "two parts": {0x92, 0x80, 0xa0}, "no id": {0x93, 0x80, 0xa1, 'x', 0x90},
		"header deep": append([]byte{0x93}, deep...), "name": {0x93, 0x81, 0xa2, 'i', 'd', 0x01, 0x90, 0x90},
	} {
		synctest.Test(t, func(t *testing.T) {
			tr := rpc.Memory()
			at, stop := server(t, tr, "x", rpc.Config{Methods: house()})
			good := dial(t, tr, at, rpc.Config{})
			bad, err := tr.Dial(t.Context(), at, "bad")
			must(t, err)
			must(t, bad.Send([][]byte{{}, b}))
			if _, err := bad.Recv(); err == nil {
				t.Errorf("%s: the link goes on", name)
			}
			must(t, bad.Close())
			must(t, good.Call(t.Context(), "add", nil, 1, 2))
			must(t, good.Close())
			stop()
		})
	}
}
