package cluster

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay stands between a client and a server, and can hold back what they say.
// It keeps the order of bytes, as TCP does over a network that loses packets.
type Relay struct {
	network, target string
	jitter          atomic.Int64 // the longest delay of a chunk, in ns
	late            atomic.Int64 // how many of 100 chunks are delayed
	mute            atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// NewRelay relays what dials address to target, until the test ends.
func NewRelay(t testing.TB, network, address, target string) *Relay {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{network: network, target: target, conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.Clear()
		r.mu.Lock()
		for conn := range r.conns {
			conn.Close()
		}
		r.mu.Unlock()
		all.Wait()
	})
	return r
}

// Delay holds so many of 100 chunks back, each for up to the longest time. A
// chunk is what one read returned.
func (r *Relay) Delay(percent int, longest time.Duration) {
	r.jitter.Store(int64(longest))
	r.late.Store(int64(percent))
}

// Swallow lets requests through, and no answers: they are lost.
func (r *Relay) Swallow() { r.mute.Store(true) }

// Clear ends all that. Connections that lost an answer are closed.
func (r *Relay) Clear() {
	r.Delay(0, 0)
	if r.mute.Swap(false) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for conn := range r.conns {
			conn.Close()
		}
	}
}

func (r *Relay) serve(client net.Conn) {
	server, err := net.Dial(r.network, r.target)
	if err != nil {
		client.Close()
		return
	}
	r.mu.Lock()
	r.conns[client], r.conns[server] = true, true
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { r.pump(server, client, false) })
	both.Go(func() { r.pump(client, server, true) })
	both.Wait()
	r.mu.Lock()
	delete(r.conns, client)
	delete(r.conns, server)
	r.mu.Unlock()
}

// pump copies until one of the two ends, and then ends the other.
func (r *Relay) pump(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if rand.Int64N(100) < r.late.Load() {
			<-time.After(time.Duration(rand.Int64N(max(1, r.jitter.Load()))))
		}
		if !answers || !r.mute.Load() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil { // io.EOF, or it was closed
			return
		}
	}
}
