package sim

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"longshore/rpc"
)

// conn is one end of a connection.
type conn struct {
	net    *network
	proc   *process
	name   string
	peer   rpc.Peer
	other  *conn
	opened time.Duration

	mu     sync.Mutex
	out    []batch // sent, and not delivered; oldest first
	size   int     // bytes of it
	due    time.Duration
	closed bool  // by this end
	ended  error // why nothing more comes, once in is empty
	in     [][][]byte
	ready  chan struct{}

	stalled bool // the deliveries': the first of out waits for the network
}

// batch is what was sent at one moment.
type batch struct {
	at       time.Duration
	messages [][][]byte
	sorted   bool
}

func (c *conn) Peer() rpc.Peer { return c.peer }

// Send queues a copy of the message. What is sent on one connection at one
// moment travels together, and arrives in the order of its content: who was
// first is the Go scheduler's secret.
func (c *conn) Send(frames [][]byte) error {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	if size > rpc.MaxMessage || len(frames) > rpc.MaxFrames {
		return rpc.ErrTooLarge
	}
	if c.proc.ctx.Err() != nil && parse(frames[len(frames)-1]).name == "_zpc_cancel" {
		return nil // it is about to hang up, and which comes first is chance
	}
	now := c.net.e.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed || c.proc.dead.Load():
		return rpc.ErrClosed
	case c.ended != nil:
		return c.ended
	case c.size+size > rpc.MaxQueue:
		return rpc.ErrSlowPeer
	}
	c.size += size
	own := make([]byte, 0, size)
	copied := make([][]byte, len(frames))
	for i, f := range frames {
		own = append(own, f...)
		copied[i] = own[len(own)-len(f) : len(own) : len(own)]
	}
	if n := len(c.out); n > 0 && c.out[n-1].at == now {
		c.out[n-1].messages = append(c.out[n-1].messages, copied)
		return nil
	}
	c.out = append(c.out, batch{at: now, messages: [][][]byte{copied}})
	c.due = max(now+c.net.delay(c), c.due+1)
	c.net.e.at(c.due, fnv(c.name), c.deliver)
	return nil
}

// delay is how long what is sent now takes.
func (n *network) delay(c *conn) time.Duration {
	return n.e.between(100*time.Microsecond, 900*time.Microsecond, c.name) + n.slowed(c)
}

// deliver hands the next message over, unless the network stalls.
func (c *conn) deliver() {
	n := c.net
	if c.stalled || n.isBlocked(c.proc.host, c.other.proc.host) || c.proc.held() || c.other.proc.held() {
		c.stalled = true
		return
	}
	c.mu.Lock()
	if len(c.out) == 0 {
		c.mu.Unlock()
		return // it was cut
	}
	b := &c.out[0]
	if !b.sorted && len(b.messages) > 1 {
		sortMessages(b.messages)
	}
	b.sorted = true
	frames := b.messages[0]
	if b.messages = b.messages[1:]; len(b.messages) == 0 {
		c.out = c.out[1:]
	} else {
		n.e.after(1, fnv(c.name), c.deliver)
	}
	for _, f := range frames {
		c.size -= len(f)
	}
	c.mu.Unlock()
	m := parse(frames[len(frames)-1])
	m.conn = c
	n.e.note(c.name+m.name, n.masked(m))
	if n.heard != nil {
		n.heard(m)
	}
	c.other.take(frames)
}

// masked are the arguments without the name of the directory of this run, which
// errors tell. It has the same length in every run.
func (n *network) masked(m message) []byte {
	if m.name != "progress" && m.name != "failed" || !bytes.Contains(m.args, []byte(n.dir)) {
		return m.args
	}
	return bytes.ReplaceAll(m.args, []byte(n.dir), []byte("DIR"))
}

// kick goes on with what was stalled.
func (c *conn) kick() {
	if !c.stalled {
		return
	}
	c.stalled = false
	c.mu.Lock()
	n := len(c.out)
	c.mu.Unlock()
	for i := range n {
		at := c.net.e.between(time.Millisecond, 50*time.Millisecond, c.name)
		c.net.e.after(at+time.Duration(i), fnv(c.name), c.deliver)
	}
}

func (c *conn) take(frames [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ended != nil {
		return
	}
	c.in = append(c.in, frames)
	poke(c.ready)
}

// Recv blocks until a message came.
func (c *conn) Recv() ([][]byte, error) {
	for {
		c.mu.Lock()
		switch {
		case c.closed:
			c.mu.Unlock()
			return nil, rpc.ErrClosed
		case len(c.in) > 0:
			frames := c.in[0]
			c.in = c.in[1:]
			c.mu.Unlock()
			return frames, nil
		case c.ended != nil:
			err := c.ended
			c.mu.Unlock()
			return nil, err
		}
		c.mu.Unlock()
		<-c.ready
	}
}

// Close ends this end; the other hears of it after what was sent.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	poke(c.ready)
	c.mu.Unlock()
	if first && !c.proc.dead.Load() {
		c.net.e.after(c.net.delay(c)+time.Millisecond, fnv(c.name)+1, func() { c.hangUp(io.EOF) })
	}
	return nil
}

// hangUp tells the other end, once packets reach it.
func (c *conn) hangUp(why error) {
	n := c.net
	if n.isBlocked(c.proc.host, c.other.proc.host) || c.proc.held() || c.other.proc.held() {
		n.e.after(time.Second, fnv(c.name)+1, func() { c.hangUp(why) })
		return
	}
	c.sever(why)
}

// sever ends both ends now.
func (c *conn) sever(why error) {
	c.end(why)
	c.other.end(why)
	near := c
	if strings.HasSuffix(c.name, "<") {
		near = c.other
	}
	if i := slices.Index(c.net.conns, near); i >= 0 {
		c.net.conns = slices.Delete(c.net.conns, i, i+1)
	}
}

func (c *conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = why
	}
	c.out, c.size, c.in = nil, 0, nil
	poke(c.ready)
}

// slowed is what a slow host adds to a packet.
func (n *network) slowed(c *conn) time.Duration {
	d := time.Duration(max(c.proc.host.slow.Load(), c.other.proc.host.slow.Load()))
	if d == 0 {
		return 0
	}
	return n.e.between(0, d, c.name, "slow")
}

// sortMessages orders what was sent at one moment by content, but for what
// belongs to one channel, which stays in its order.
func sortMessages(messages [][][]byte) {
	type group struct {
		first message
		all   [][][]byte
	}
	var groups []*group
	byChannel := map[string]*group{}
	for _, frames := range messages {
		m := parse(frames[len(frames)-1])
		g := byChannel[string(m.channel)]
		if g == nil {
			g = &group{first: m}
			byChannel[string(m.channel)] = g
			groups = append(groups, g)
		}
		g.all = append(g.all, frames)
	}
	slices.SortStableFunc(groups, func(a, b *group) int {
		if n := strings.Compare(a.first.name, b.first.name); n != 0 {
			return n
		}
		return bytes.Compare(a.first.args, b.first.args)
	})
	i := 0
	for _, g := range groups {
		i += copy(messages[i:], g.all)
	}
}
