package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"longshore/rpc"
)

// network carries the messages of all processes. A connection is in order and
// lossless until it breaks: loss shows as a stall or a cut, and duplicates and
// reordering above it, through reconnects and late answers.
type network struct {
	e   *engine
	dir string

	// Owned by the deliveries.
	listener *listener
	conns    []*conn           // dialling ends of what is open, in the order of dialling
	blocked  map[[2]*host]bool // no packet goes from one host to another
	heard    func(m message)
}

func newNetwork(e *engine, dir string) *network {
	return &network{e: e, dir: dir, blocked: map[[2]*host]bool{}}
}

// port is the network as one process has it.
type port struct {
	net  *network
	proc *process
}

var errRefused = errors.New("connection refused")

// Listen makes the process the one that all others dial.
func (p port) Listen(_ context.Context, addr string) (rpc.Listener, error) {
	l := &listener{addr: addr, proc: p.proc, ready: make(chan struct{}, 1), done: make(chan struct{})}
	if !p.proc.act("listen", func() { p.net.listener = l }) {
		return nil, rpc.ErrClosed
	}
	return l, nil
}

// Dial connects to the process that listens, if packets go there and back.
func (p port) Dial(ctx context.Context, addr, identity string) (rpc.Conn, error) {
	var near *conn
	got := make(chan error, 1)
	n, name := p.net, p.proc.name
	n.e.after(n.e.between(200*time.Microsecond, 2*time.Millisecond, name, "dial")+time.Duration(p.proc.host.slow.Load()), n.e.random(name, "dial"), func() {
		l := n.listener
		switch {
		case p.proc.dead.Load(), l != nil && (l.proc.held() || n.cutOff(p.proc.host, l.proc.host)), p.proc.held():
			return // no answer
		case l == nil || l.proc.dead.Load():
			n.e.note("refused " + name)
			got <- fmt.Errorf("dial %s: %w", addr, errRefused)
			return
		}
		var far *conn
		near, far = n.connect(p.proc, l.proc, addr, identity)
		n.e.note("connected " + name)
		l.hand(far)
		got <- nil
	})
	select {
	case err := <-got:
		if err != nil {
			return nil, err
		}
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.proc.gone:
		return nil, rpc.ErrClosed
	}
}

func (n *network) isBlocked(from, to *host) bool { return n.blocked[[2]*host{from, to}] }

// cutOff tells whether no connection can be made between two hosts.
func (n *network) cutOff(a, b *host) bool { return n.isBlocked(a, b) || n.isBlocked(b, a) }

// connect makes both ends of a connection.
func (n *network) connect(from, to *process, addr, identity string) (near, far *conn) {
	from.dialled++
	name := from.name + "#" + strconv.Itoa(from.dialled)
	near = &conn{net: n, proc: from, name: name + ">", peer: rpc.Peer{Addr: addr, UID: -1}, ready: make(chan struct{}, 1)}
	far = &conn{net: n, proc: to, name: name + "<", peer: rpc.Peer{Name: identity, Addr: "sim:" + name, UID: -1}, ready: make(chan struct{}, 1)}
	near.other, far.other = far, near
	near.opened = n.e.now()
	n.conns = append(n.conns, near)
	return near, far
}

// cut breaks the connections that match; what was under way is lost. The ends
// whose host the news does not reach learn nothing.
func (n *network) cut(match func(near *conn) bool) (count int) {
	for _, c := range slices.Clone(n.conns) {
		if match(c) {
			count++
			c.sever(io.ErrUnexpectedEOF)
		}
	}
	return count
}

// partition blocks or heals one way between a host and the broadcaster's.
func (n *network) partition(from, to *host, on bool) {
	n.blocked[[2]*host{from, to}] = on
	if !on {
		n.resume()
	}
}

// resume sends on what was stalled, connection by connection.
func (n *network) resume() {
	for _, c := range slices.Clone(n.conns) {
		c.kick()
		c.other.kick()
	}
}

// listener hands out connections.
type listener struct {
	addr  string
	proc  *process
	once  sync.Once
	ready chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	queue []*conn
}

func (l *listener) hand(c *conn) {
	l.mu.Lock()
	l.queue = append(l.queue, c)
	l.mu.Unlock()
	poke(l.ready)
}

// Accept waits for the next connection.
func (l *listener) Accept(ctx context.Context) (rpc.Conn, error) {
	for {
		l.mu.Lock()
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
		select {
		case <-l.ready:
		case <-l.done:
			return nil, rpc.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Addr is what Dial takes.
func (l *listener) Addr() string { return l.addr }

// Close makes Accept return.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
