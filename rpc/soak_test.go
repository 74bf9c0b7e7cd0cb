package rpc_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"longshore/rpc"
)

// chaos is a TCP proxy that kills and stalls what goes through it.
type chaos struct {
	addr string
	ln   net.Listener
	wg   sync.WaitGroup

	mu      sync.Mutex
	r       *rand.Rand
	closed  bool
	pipes   map[*pipe]bool
	killed  int
	stalled int
}

// pipe is one proxied connection. While it is stalled nothing passes.
type pipe struct {
	client, server net.Conn
	stall          sync.RWMutex
}

func newChaos(t *testing.T, target string) *chaos {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &chaos{addr: "tcp://" + ln.Addr().String(), ln: ln, r: rand.New(rand.NewPCG(5, 6)), pipes: map[*pipe]bool{}}
	p.wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(target, "tcp://"))
			if err != nil {
				_ = client.Close()
				continue
			}
			c := &pipe{client: client, server: server}
			p.mu.Lock()
			p.pipes[c] = true
			if p.closed {
				c.kill()
			}
			p.mu.Unlock()
			var both sync.WaitGroup
			both.Go(func() { c.pass(client, server) })
			both.Go(func() { c.pass(server, client) })
			p.wg.Go(func() {
				both.Wait()
				p.mu.Lock()
				delete(p.pipes, c)
				p.mu.Unlock()
			})
		}
	})
	return p
}

func (c *pipe) pass(from, to net.Conn) {
	defer c.kill()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		c.stall.RLock()
		_, e := to.Write(buf[:n])
		c.stall.RUnlock()
		if err != nil || e != nil {
			return
		}
	}
}

// kill resets both connections: nobody says goodbye.
func (c *pipe) kill() {
	for _, end := range []net.Conn{c.client, c.server} {
		_ = end.(*net.TCPConn).SetLinger(0)
		_ = end.Close()
	}
}

// rage kills or stalls one connection after another until ctx ends.
func (p *chaos) rage(ctx context.Context) {
	var stalls sync.WaitGroup
	defer stalls.Wait()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		for c := range p.pipes { // any one
			if p.r.IntN(4) > 0 {
				p.killed++
				c.kill()
				break
			}
			p.stalled++
			long := time.Duration(p.r.IntN(600)) * time.Millisecond
			stalls.Go(func() { // longer than the heartbeats bear, or not
				c.stall.Lock()
				defer c.stall.Unlock()
				select {
				case <-time.After(long):
				case <-ctx.Done():
				}
			})
			break
		}
		p.mu.Unlock()
	}
}

func (p *chaos) close() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.pipes {
		c.kill()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// soak is what its workers share.
type soak struct {
	t            *testing.T
	done, failed atomic.Int64
	links, want  int64
	enough       context.CancelFunc
	samples      []standing
	mu           sync.Mutex
	every        int64
}

type standing struct {
	goroutines int
	heap       uint64
}

// work calls over one link until it breaks.
func (s *soak) work(ctx context.Context, l *rpc.Link) error {
	for n := 0; ctx.Err() == nil; n++ {
		var err error
		switch n % 8 {
		case 5:
			err = s.stream(ctx, l)
		case 6: // one that is given up
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			if err = l.Call(short, "hang", nil); errors.Is(err, rpc.ErrTimeout) {
				err = nil
			}
			cancel()
		case 7:
			var back thing
			if err = l.Call(ctx, "thing", &back, payload()); err == nil && back.Name != payload().Name {
				s.t.Errorf("the answer is another's: %+v", back)
			}
		default:
			var sum int
			if err = l.Call(ctx, "add", &sum, n, 1); err == nil && sum != n+1 {
				s.t.Errorf("%d + 1 = %d", n, sum)
			}
		}
		if err != nil {
			s.failed.Add(1)
			if l.Err() != nil {
				return err
			}
			continue
		}
		s.count()
	}
	return nil
}

func (s *soak) stream(ctx context.Context, l *rpc.Link) error {
	st, err := l.Stream(ctx, "count", 200)
	if err != nil {
		return err
	}
	defer st.Close()
	for i := 0; ; i++ {
		var got int
		switch err := st.Next(&got); {
		case errors.Is(err, io.EOF) && i == 200:
			return nil
		case err != nil:
			return err
		case got != i:
			s.t.Errorf("item %d is %d", i, got)
		}
	}
}

// count counts a call, and looks at the process now and then.
func (s *soak) count() {
	n := s.done.Add(1)
	if n == s.want {
		s.enough()
	}
	if n%s.every == 0 {
		s.mu.Lock()
		s.samples = append(s.samples, standing{runtime.NumGoroutine(), heap()})
		s.mu.Unlock()
	}
}

// TestSoak makes SOAK calls (10,000) over links that are killed and stalled
// all the time and come back. `make soak` makes 200,000. Nothing grows, and
// nothing is left.
func TestSoak(t *testing.T) {
	s := &soak{t: t, want: 10_000}
	if n, err := strconv.ParseInt(os.Getenv("SOAK"), 10, 64); err == nil {
		s.want = n
	}
	s.every = s.want / 20
	leaks := goleak.IgnoreCurrent()
	before := heap()
	const beat = 100 * time.Millisecond
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house(), Heartbeat: beat})
	p := newChaos(t, at)
	ctx, cancel := context.WithCancel(t.Context())
	s.enough = cancel
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			up := func(ctx context.Context, l *rpc.Link) error {
				atomic.AddInt64(&s.links, 1)
				var workers sync.WaitGroup
				for range 3 {
					workers.Go(func() { _ = s.work(ctx, l) })
				}
				workers.Wait()
				return l.Err()
			}
			must(t, rpc.Keep(ctx, tr, p.addr, rpc.Config{Heartbeat: beat}, up))
		})
	}
	p.rage(ctx)
	wg.Wait()
	stop()
	p.close()
	t.Logf("%d calls, %d failed, %d links, %d kills, %d stalls", s.done.Load(), s.failed.Load(), s.links, p.killed, p.stalled)
	s.judge(before, leaks)
}

// judge compares the process at the end with before, and its second half with
// the first.
func (s *soak) judge(before uint64, leaks goleak.Option) {
	if err := goleak.Find(leaks); err != nil {
		s.t.Error(err)
	}
	if after := heap(); after > before+2<<20 {
		s.t.Errorf("the heap was %d KiB before, and %d KiB after", before>>10, after>>10)
	}
	half := len(s.samples) / 2
	peak := func(all []standing) (top standing) {
		for _, one := range all {
			top.goroutines = max(top.goroutines, one.goroutines)
			top.heap = max(top.heap, one.heap)
		}
		return top
	}
	first, second := peak(s.samples[:half]), peak(s.samples[half:])
	s.t.Logf("at most %d goroutines, %d KiB of heap in the first half; %d, %d KiB in the second",
		first.goroutines, first.heap>>10, second.goroutines, second.heap>>10)
	if second.goroutines > first.goroutines*3/2+50 || second.heap > first.heap*3/2+2<<20 {
		s.t.Error("it grows")
	}
	if s.links < 12 {
		s.t.Errorf("only %d links: nothing was killed", s.links)
	}
}
