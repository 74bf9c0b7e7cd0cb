package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"longshore/rpc"
)

// pair is one connection of a transport: the dialling and the listening end.
func pair(t *testing.T, tr rpc.Transport, l rpc.Listener, name string) (near, far rpc.Conn) {
	t.Helper()
	type accepted struct {
		c   rpc.Conn
		err error
	}
	got := make(chan accepted, 1)
	go func() {
		c, err := l.Accept(context.WithoutCancel(t.Context()))
		got <- accepted{c, err}
	}()
	near, err := tr.Dial(within(t), l.Addr(), name)
	must(t, err)
	a := receive(t, "accept", got)
	must(t, a.err)
	t.Cleanup(func() { _ = near.Close(); _ = a.c.Close() })
	return near, a.c
}

// ground is what one test of a transport stands on.
type ground struct {
	t  *testing.T
	tr rpc.Transport
	l  rpc.Listener
}

// TestTransport holds every transport to the contract of Transport, Listener
// and Conn.
func TestTransport(t *testing.T) {
	cases := []struct {
		name string
		run  func(g *ground)
	}{
		{"messages arrive whole and in order", (*ground).orderly},
		{"bounds are refused without harm", (*ground).bounded},
		{"each end knows the other", (*ground).acquainted},
		{"close ends both ends", (*ground).closing},
		{"what was sent before close arrives", (*ground).farewells},
		{"a peer that does not read is dropped alone", (*ground).slowReader},
		{"accept ends with its context and the listener", (*ground).accepting},
		{"dial fails where nobody listens", (*ground).nobody},
	}
	for _, n := range networks() {
		for _, c := range cases {
			t.Run(n.name+"/"+strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
				tr, addr := n.make(t)
				l, err := tr.Listen(within(t), addr)
				must(t, err)
				t.Cleanup(func() { _ = l.Close() })
				c.run(&ground{t, tr, l})
			})
		}
	}
}

func (g *ground) orderly() {
	t, l := g.t, g.l
	near, far := pair(t, g.tr, l, "n1")
	for _, ends := range [][2]rpc.Conn{{near, far}, {far, near}} {
		go func() {
			buf := make([]byte, 0, 4096)
			for i := range 1000 {
				buf = fmt.Appendf(buf[:0], "message %d", i)
				if err := ends[0].Send([][]byte{{}, buf, bytes.Repeat([]byte{byte(i)}, i*7)}); err != nil {
					t.Errorf("send %d: %v", i, err)
					return
				}
			}
		}()
		for i := range 1000 {
			got, err := ends[1].Recv()
			must(t, err)
			if len(got) != 3 || len(got[0]) != 0 || string(got[1]) != fmt.Sprintf("message %d", i) || !bytes.Equal(got[2], bytes.Repeat([]byte{byte(i)}, i*7)) {
				t.Fatalf("message %d came as %d frames, %.40q", i, len(got), got)
			}
		}
	}
}

func (g *ground) bounded() {
	t, l := g.t, g.l
	near, far := pair(t, g.tr, l, "n1")
	full := make([]byte, rpc.MaxFrame)
	for name, frames := range map[string][][]byte{
		"none":            {},
		"a frame too big": {append(full, 0)},
		"too many frames": make([][]byte, rpc.MaxFrames+1),
		"too much in all": {full, full, full, full, {1}},
	} {
		if err := near.Send(frames); !errors.Is(err, rpc.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	go func() { _ = near.Send([][]byte{full, full, full}) }()
	got, err := far.Recv()
	must(t, err)
	if len(got) != 3 || len(got[2]) != rpc.MaxFrame {
		t.Errorf("a message at the bound came as %d frames", len(got))
	}
	must(t, near.Send(make([][]byte, rpc.MaxFrames)))
	if got, err = far.Recv(); err != nil || len(got) != rpc.MaxFrames {
		t.Errorf("%d frames came as %d, %v", rpc.MaxFrames, len(got), err)
	}
}

func (g *ground) acquainted() {
	t, l := g.t, g.l
	near, far := pair(t, g.tr, l, "n1")
	if p := far.Peer(); p.Name != "n1" || p.Addr == "" {
		t.Errorf("the listening end sees %+v", p)
	}
	if p := near.Peer(); p.Addr != l.Addr() {
		t.Errorf("the dialling end sees %+v", p)
	}
	uid := -1
	if strings.HasPrefix(l.Addr(), "ipc://") {
		uid = os.Getuid()
	}
	if near.Peer().UID != uid || far.Peer().UID != uid {
		t.Errorf("uids %d and %d, want %d", near.Peer().UID, far.Peer().UID, uid)
	}
}

func (g *ground) closing() {
	t, l := g.t, g.l
	near, far := pair(t, g.tr, l, "n1")
	ends := make(chan error, 2)
	for _, c := range []rpc.Conn{near, far} {
		go func() {
			_, err := c.Recv()
			ends <- err
		}()
	}
	must(t, near.Close())
	must(t, near.Close())
	ours := 0
	for range 2 {
		if err := receive(t, "recv ends", ends); errors.Is(err, rpc.ErrClosed) {
			ours++
		} else if err == nil {
			t.Error("recv ended without an error")
		}
	}
	if ours != 1 {
		t.Errorf("%d ends say ErrClosed, want the one that closed", ours)
	}
	if err := near.Send([][]byte{{1}}); !errors.Is(err, rpc.ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
	if _, err := near.Recv(); !errors.Is(err, rpc.ErrClosed) {
		t.Errorf("recv after close: %v", err)
	}
}

func (g *ground) farewells() {
	t, l := g.t, g.l
	near, far := pair(t, g.tr, l, "n1")
	for i := range 100 {
		must(t, near.Send([][]byte{{byte(i)}}))
	}
	must(t, near.Close())
	for i := range 100 {
		got, err := far.Recv()
		if err != nil || got[0][0] != byte(i) {
			t.Fatalf("message %d: %v, %v", i, got, err)
		}
	}
	if _, err := far.Recv(); err == nil {
		t.Error("recv goes on")
	}
}

func (g *ground) slowReader() {
	t, l := g.t, g.l
	slow, slowFar := pair(t, g.tr, l, "slow")
	good, goodFar := pair(t, g.tr, l, "good")
	_ = slow // never reads
	frame := make([]byte, 1<<20)
	worst := time.Duration(0)
	for n := 0; ; n++ {
		began := time.Now()
		err := slowFar.Send([][]byte{frame})
		worst = max(worst, time.Since(began))
		if errors.Is(err, rpc.ErrSlowPeer) {
			break
		}
		must(t, err)
		if n > 100 {
			t.Fatal("100 MiB were queued for a peer that does not read")
		}
		must(t, goodFar.Send([][]byte{{byte(n)}}))
		got, err := good.Recv()
		must(t, err)
		if got[0][0] != byte(n) {
			t.Fatalf("got %v, want %d", got, n)
		}
	}
	if worst > wait/2 { // one that waited for the peer would never return
		t.Errorf("a send took %v", worst)
	}
	if err := slowFar.Send([][]byte{{1}}); err == nil {
		t.Error("the connection lives on")
	}
	if _, err := slowFar.Recv(); err == nil {
		t.Error("recv goes on")
	}
}

func (g *ground) accepting() {
	t, l := g.t, g.l
	ctx, cancel := context.WithCancel(within(t))
	ends := make(chan error, 1)
	accept := func(ctx context.Context) {
		_, err := l.Accept(ctx)
		ends <- err
	}
	go accept(ctx)
	cancel()
	if err := receive(t, "accept ends", ends); !errors.Is(err, context.Canceled) {
		t.Errorf("accept with an ended context: %v", err)
	}
	go accept(within(t))
	must(t, l.Close())
	if err := receive(t, "accept ends", ends); !errors.Is(err, rpc.ErrClosed) {
		t.Errorf("accept of a closed listener: %v", err)
	}
	must(t, l.Close())
}

func (g *ground) nobody() {
	t, l := g.t, g.l
	addr := l.Addr()
	must(t, l.Close())
	if c, err := g.tr.Dial(within(t), addr, "n1"); err == nil {
		_ = c.Close()
		t.Error("dialled a closed listener")
	}
	again, err := g.tr.Listen(within(t), addr)
	must(t, err)
	must(t, again.Close())
}

func TestAddresses(t *testing.T) {
	for addr, ok := range map[string]bool{
		"tcp://127.0.0.1:0":   true,
		"tcp://localhost:0":   true,
		"tcp://[::1]:0":       true,
		"tcp://0.0.0.0:0":     false,
		"tcp://*:0":           false,
		"tcp://:0":            false,
		"tcp://10.1.2.3:0":    false,
		"tcp://127.0.0.1":     false,
		"127.0.0.1:0":         false,
		"ipc://relative":      false,
		"ipc://@abstract":     false,
		"inproc://x":          false,
		"ipc:///" + long(110): false,
	} {
		l, err := rpc.ZMQ(rpc.ZMQOptions{}).Listen(within(t), addr)
		if err == nil {
			must(t, l.Close())
		}
		if (err == nil) != ok || err != nil && !errors.Is(err, rpc.ErrAddress) {
			t.Errorf("listen %s: %v", addr, err)
		}
	}
	l, err := rpc.ZMQ(rpc.ZMQOptions{AllowPlaintext: true}).Listen(within(t), "tcp://0.0.0.0:0")
	must(t, err)
	must(t, l.Close())
	_, err = rpc.ZMQ(rpc.ZMQOptions{}).Dial(within(t), "tcp://10.1.2.3:1", "")
	if !errors.Is(err, rpc.ErrAddress) {
		t.Errorf("dial without TLS beyond this machine: %v", err)
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestUnixSocket(t *testing.T) {
	path := socketPath(t)
	must(t, os.WriteFile(path, []byte("stale"), 0o600))
	tr := rpc.ZMQ(rpc.ZMQOptions{SocketGroup: 1})
	first, err := tr.Listen(within(t), "ipc://"+path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("mode %v", info.Mode())
	}
	second, err := tr.Listen(within(t), "ipc://"+path)
	must(t, err)
	must(t, first.Close()) // must leave the socket of the second alone
	pair(t, tr, second, "n1")
	must(t, second.Close())
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
