package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

func TestServerAnswers(t *testing.T) {
	facingServer(t, rpc.Config{Methods: house()}, func(p *puppet) {
		t := p.t
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
	facingServer(t, rpc.Config{Methods: house()}, func(p *puppet) {
		t := p.t
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
	facingServer(t, cfg, func(p *puppet) {
		t := p.t
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

func TestServerDeadline(t *testing.T) {
	facingServer(t, rpc.Config{Methods: house()}, func(p *puppet) {
		t := p.t
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
		facingServer(t, rpc.Config{Methods: house()}, func(p *puppet) {
			t := p.t
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
