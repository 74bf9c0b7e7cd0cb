package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"longshore/rpc"
)

// TestClientCredits: nothing is asked for with the first item, then always up
// to 100 when fewer than 50 are under way or unread.
func TestClientCredits(t *testing.T) {
	facingClient(t, func(l *rpc.Link, p *puppet) {
		t := p.t
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
		if err := s.Next(nil); !errors.Is(err, io.EOF) {
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
		if taken > 101 || errors.Is(err, io.EOF) {
			t.Errorf("of a peer that over-sends %d were taken, then %v", taken, err)
		}
	})
}

func TestClientHeartbeats(t *testing.T) {
	facingClient(t, func(l *rpc.Link, p *puppet) {
		t := p.t
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
	facingClient(t, func(l *rpc.Link, p *puppet) {
		t := p.t
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
