package rpc_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"longshore/rpc"
)

// silences are the points at which a peer may stop to speak before its
// handshake is done.
func silences(t *testing.T, at string, conf *tls.Config) []net.Conn {
	t.Helper()
	at = strings.Replace(at, "tls://", "tcp://", 1)
	firsts := [][]byte{nil, greeting()[:5], greeting(), append(greeting(), 4, 200), append(greeting(), ready("DEALER")[:20]...)}
	var all []net.Conn
	say := func(c net.Conn, first []byte) {
		if first != nil {
			_, err := c.Write(first)
			must(t, err)
		}
		all = append(all, c)
	}
	if conf == nil {
		for _, first := range firsts {
			say(raw(t, at), first)
		}
		return all
	}
	say(raw(t, at), nil)                               // before TLS
	say(raw(t, at), []byte{0x16, 3, 1, 2, 0, 1, 0, 1}) // within its hello
	conf = conf.Clone()
	conf.ServerName = "127.0.0.1"
	for _, first := range firsts { // behind it
		c := tls.Client(raw(t, at), conf)
		must(t, c.Handshake())
		say(c, first)
	}
	return all
}

// TestSilent: peers that say nothing, or stop within a sentence, keep nobody
// waiting, are closed in time and do not hold up the end.
func TestSilent(t *testing.T) {
	conf := selfSigned(t)
	for addr, silent := range map[string]*tls.Config{"tcp://127.0.0.1:0": nil, "tls://127.0.0.1:0": conf} {
		t.Run(addr[:3], func(t *testing.T) {
			t.Parallel()
			at, stop := server(t, rpc.ZMQ(rpc.ZMQOptions{Handshake: 2 * time.Second, TLS: fixed(conf)}), addr, rpc.Config{Methods: house()})
			all := silences(t, at, silent)
			dribble := raw(t, strings.Replace(at, "tls://", "tcp://", 1))
			go func() { // a byte at a time is no progress
				for _, b := range append(greeting(), ready("DEALER")...) {
					if _, err := dribble.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}()
			l := dial(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(conf), Handshake: wait}), at, rpc.Config{})
			must(t, l.Call(within(t), "add", nil, 1, 2))
			for _, c := range append(all, dribble) {
				hungUp(t, c)
			}
			must(t, l.Call(within(t), "add", nil, 1, 2))
			stop()
		})
	}
	t.Run("listener", func(t *testing.T) { // a silent listener, too
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer ln.Close()
		if _, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{Handshake: 100 * time.Millisecond}), "tcp://"+ln.Addr().String(), rpc.Config{}); err == nil {
			t.Error("shook hands with nobody")
		}
	})
}

// stuck makes peers that will never go by themselves: silent ones, one within
// a frame, one within a message, one that reads nothing of what it asked for,
// and one in the middle of calls and streams.
func stuck(t *testing.T, at string, conf *tls.Config, wg *sync.WaitGroup) {
	t.Helper()
	silences(t, at, conf)
	connect := func() net.Conn {
		c := raw(t, strings.Replace(at, "tls://", "tcp://", 1))
		if conf != nil {
			own := conf.Clone()
			own.ServerName = "127.0.0.1"
			c = tls.Client(c, own)
		}
		return c
	}
	hello := append(greeting(), ready("DEALER")...)
	for _, more := range [][]byte{
		{0, 200, 1, 2, 3},
		binary.BigEndian.AppendUint64([]byte{2}, 4<<20),
		bytes.Repeat([]byte{1, 3, 1, 2, 3}, 10),
	} {
		_, err := connect().Write(append(bytes.Clone(hello), more...))
		must(t, err)
	}
	slow := connect()
	_, err := slow.Write(hello)
	must(t, err)
	for i := range 20 {
		b := request(t, string(rune('a'+i)), "fail", "big part")
		_, err := slow.Write(append([]byte{0, byte(len(b))}, b...))
		must(t, err)
	}
	l := dial(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(conf)}), at, rpc.Config{})
	busy(l, wg)
	must(t, l.Call(within(t), "add", nil, 1, 2))
}

// TestCloseUnderAttack: with all of them there, the end is quick and leaves
// nothing. The best of three counts, for the machine may be slow.
func TestCloseUnderAttack(t *testing.T) {
	conf := selfSigned(t)
	for addr, peers := range map[string]*tls.Config{"tcp://127.0.0.1:0": nil, "tls://127.0.0.1:0": conf} {
		t.Run(addr[:3], func(t *testing.T) {
			best := time.Hour
			for range 3 {
				leaks := goleak.IgnoreCurrent()
				at, stop := server(t, rpc.ZMQ(rpc.ZMQOptions{Handshake: time.Hour, TLS: fixed(conf)}), addr, rpc.Config{Methods: house()})
				var wg sync.WaitGroup
				stuck(t, at, peers, &wg)
				began := time.Now()
				stop()
				best = min(best, time.Since(began))
				wg.Wait()
				if err := goleak.Find(leaks); err != nil {
					t.Error(err)
				}
			}
			if best > time.Second {
				t.Errorf("the end took %v", best)
			}
		})
	}
}
