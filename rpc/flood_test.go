package rpc_test

import (
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// request is a whole opening event.
func request(tb testing.TB, id, method string, args ...any) []byte {
	tb.Helper()
	b, err := msgpack.Marshal([]any{map[string]any{"message_id": id, "v": 3}, method, append([]any{}, args...)})
	must(tb, err)
	return b
}

// TestFlood: 500 silent peers, and new ones all the time, do not keep a good
// one from coming in: whoever shakes hands longest makes room.
func TestFlood(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{Handshake: time.Hour, MaxHands: 32})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	for range 500 {
		raw(t, at)
	}
	for range 20 {
		for range 25 {
			raw(t, at)
		}
		l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
		must(t, err)
		must(t, l.Call(within(t), "add", nil, 1, 2))
		must(t, l.Close())
		l.Wait()
	}
	stop()
}

// TestConnectFlood: 10,000 connects as fast as they go, some silent, some that
// speak rubbish or half a greeting, all gone without a goodbye; a link that is
// there and those that come meanwhile are served throughout.
func TestConnectFlood(t *testing.T) {
	const connects, flooders = 10_000, 8
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	good := dial(t, tr, at, rpc.Config{})
	first := [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), greeting()[:30], append(greeting(), ready("PUB")...)}
	var wg sync.WaitGroup
	var in atomic.Int32
	began := time.Now()
	for range flooders {
		wg.Go(func() {
			for i := range connects / flooders {
				c, err := net.Dial("tcp", strings.TrimPrefix(at, "tcp://"))
				if err != nil {
					t.Error(err)
					return
				}
				in.Add(1)
				_ = c.(*net.TCPConn).SetLinger(0) // leaves no port in TIME_WAIT
				_, _ = c.Write(first[i%len(first)])
				_ = c.Close()
			}
		})
	}
	over := make(chan bool)
	go func() { wg.Wait(); close(over) }()
	calls, newcomers, tries := 0, 0, 0
	for flooding := true; flooding; calls++ {
		select {
		case <-over:
			flooding = false
		default:
		}
		must(t, good.Call(within(t), "add", nil, 1, 2))
		if calls%20 == 0 {
			eventually(t, "a newcomer is let in", func() bool {
				l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
				tries++
				if err == nil { // or put out by those who came behind: Keep tries again, too
					err = l.Call(within(t), "add", nil, 1, 2)
					_ = l.Close()
					l.Wait()
				}
				if err == nil {
					newcomers++
				}
				return err == nil
			})
		}
	}
	t.Logf("%d connects in %v; meanwhile %d calls, and %d newcomers in %d tries", in.Load(), time.Since(began).Round(time.Millisecond), calls, newcomers, tries)
	if in.Load() != connects || calls < 20 {
		t.Errorf("%d connects of %d, %d calls", in.Load(), connects, calls)
	}
}

// TestConnectionBounds: so many shake hands, the oldest makes room; so many are
// open, more are closed, until there is room again.
func TestConnectionBounds(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{MaxConns: 3, MaxPerSource: 3, MaxHands: 2, Handshake: time.Hour})
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	oldest, younger := raw(t, at), raw(t, at)
	last := raw(t, at)
	hungUp(t, oldest)
	_ = younger.Close()
	_ = last.Close()
	var links []*rpc.Link
	in := func() bool {
		l, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{}), at, rpc.Config{})
		if err == nil {
			links = append(links, l)
		}
		return err == nil
	}
	for range 3 {
		eventually(t, "a link", in)
	}
	hungUp(t, raw(t, at))
	must(t, links[0].Call(within(t), "add", nil, 1, 2))
	_ = links[0].Close()
	eventually(t, "room again", in)
	for _, l := range links {
		_ = l.Close()
		l.Wait()
	}
}

// TestSourceBound: one address cannot take all places.
func TestSourceBound(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{MaxConns: 5, MaxPerSource: 2, AllowPlaintext: true})
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	first := dial(t, tr, at, rpc.Config{})
	dial(t, tr, at, rpc.Config{})
	hungUp(t, raw(t, at))
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := other.DialContext(within(t), "tcp", strings.TrimPrefix(at, "tcp://"))
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(wait)))
	_, err = c.Write(append(greeting(), ready("DEALER")...))
	must(t, err)
	if n, err := c.Read(make([]byte, 64)); n == 0 || err != nil {
		t.Errorf("another address is kept out: %v", err)
	}
	_ = first.Close()
	first.Wait()
	eventually(t, "room for the first address", func() bool {
		l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
		if err != nil {
			return false
		}
		_ = l.Close()
		l.Wait()
		return true
	})
}

// TestMemory: a thousand peers that begin large messages and read no answers
// cannot make the process hold more than the listener's bound and some 100 KiB
// each; a good one is served throughout, large messages too.
func TestMemory(t *testing.T) {
	const peers, bound = 1000, 32 << 20
	const most = bound + peers*160<<10
	tr := rpc.ZMQ(rpc.ZMQOptions{MaxMemory: bound})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	good := dial(t, tr, at, rpc.Config{})
	large := make([]byte, 200<<10)
	base, worst := heap(), uint64(0)
	hello := append(greeting(), ready("DEALER")...)
	for n := range peers {
		c := raw(t, at)
		_, err := c.Write(hello)
		must(t, err)
		var b []byte
		switch n % 4 {
		case 0: // a frame announced
			b = binary.BigEndian.AppendUint64([]byte{2}, rpc.MaxFrame)
		case 1: // and begun
			b = append(binary.BigEndian.AppendUint64([]byte{2}, rpc.MaxFrame), make([]byte, 1<<20)...)
		case 2: // frames without end
			for range 10 {
				b = append(append(b, 1, 200), make([]byte, 200)...)
			}
			b = append(append(b, binary.BigEndian.AppendUint64([]byte{3}, 200<<10)...), make([]byte, 200<<10)...)
		case 3: // four answers of half a MiB, not read, and PINGs
			must(t, c.(*net.TCPConn).SetReadBuffer(4<<10))
			for i := range 4 {
				ask := request(t, string(rune('a'+i)), "fail", "big part")
				b = append(append(b, 0, byte(len(ask))), ask...)
			}
			for range 200 {
				b = append(b, command("PING", []byte("\x00\x000123456789abcdef"))...)
			}
		}
		_, _ = c.Write(b) // it may have been put out
		if n%100 == 99 {
			var back []byte
			must(t, good.Call(within(t), "echo", &back, large))
			worst = max(worst, heap()-base)
		}
	}
	t.Logf("heap of %d hostile peers: %d MiB", peers, worst>>20)
	if worst > most {
		t.Errorf("%d hostile peers hold %d MiB, more than %d", peers, worst>>20, most>>20)
	}
	began := time.Now()
	stop()
	if d := time.Since(began); d > wait/4 {
		t.Errorf("the end of all of them took %v", d)
	}
}

// TestUnreadAnswers: what peers do not read counts too, and whoever has been at
// it longest goes.
func TestUnreadAnswers(t *testing.T) {
	ends := make(chan error, 20)
	tr := rpc.ZMQ(rpc.ZMQOptions{MaxMemory: 8 << 20})
	at, _ := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house(), OnLink: func(ctx context.Context, l *rpc.Link) {
		<-ctx.Done()
		ends <- l.Err()
	}})
	good := dial(t, tr, at, rpc.Config{})
	for range 10 {
		c := raw(t, at)
		_, err := c.Write(append(greeting(), ready("DEALER")...))
		must(t, err)
		for i := range 16 {
			ask := request(t, string(rune('a'+i)), "fail", "big part")
			_, _ = c.Write(append([]byte{0, byte(len(ask))}, ask...)) // it may have been put out
		}
	}
	if err := receive(t, "one is put out", ends); err == nil || !strings.Contains(err.Error(), "all peers of it hold more than 8388608 bytes") {
		t.Errorf("it ended by %v", err)
	}
	must(t, good.Call(within(t), "add", nil, 1, 2))
}

// heap is the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
