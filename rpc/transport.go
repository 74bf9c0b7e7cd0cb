package rpc

import (
	"context"
	"crypto/x509"
)

// Bounds of every transport. They hold in both directions: what a peer may
// send to us, and what Send refuses before it leaves.
const (
	MaxFrame    = 4 << 20  // bytes of one frame
	MaxMessage  = 16 << 20 // bytes of one message, all frames
	MaxFrames   = 64       // frames of one message
	MaxQueue    = 16 << 20 // bytes waiting to be written to one peer
	MaxDepth    = 32       // levels of arrays and maps in one event
	MaxElements = 100_000  // values in one event
)

// Transport makes connections that carry messages, each a few frames. It is
// the seam between ZeroRPC, above, and ZeroMQ or memory, below.
type Transport interface {
	// Listen binds addr. The context bounds the call, not the listener.
	Listen(ctx context.Context, addr string) (Listener, error)
	// Dial connects to addr and says who we are; identity may be empty. The
	// context bounds the call, not the connection.
	Dial(ctx context.Context, addr, identity string) (Conn, error)
}

// Listener hands out the connections that peers open.
type Listener interface {
	// Accept blocks until a peer has connected and shaken hands, the context
	// ends, or the listener is closed ([ErrClosed]). Peers that fail to shake
	// hands are never seen here and never delay others.
	Accept(ctx context.Context) (Conn, error)
	// Addr is the address that Dial takes, with the port really bound.
	Addr() string
	// Close stops listening; accepted connections live on. Further calls do
	// nothing.
	Close() error
}

// Conn carries messages to and from one peer, in order, without loss until it
// breaks.
type Conn interface {
	// Send queues one message and returns; it never waits for the peer. The
	// frames may be reused at once. A message over the bounds is refused with
	// [ErrTooLarge] and does no harm; a full queue closes the connection with
	// [ErrSlowPeer].
	Send(frames [][]byte) error
	// Recv blocks until a message came. What it returns is the caller's. Only
	// one goroutine may call it. After Close it answers [ErrClosed], after any
	// other end what ended it.
	Recv() ([][]byte, error)
	// Peer says who is at the other end.
	Peer() Peer
	// Close flushes what is queued (for a fifth of a second at most), ends the
	// connection and makes Recv return. Further calls do nothing.
	Close() error
}

// Peer is the other end of a connection. Name is its own word; Role and
// Subject are proven.
type Peer struct {
	Name string // the ZMTP identity it states about itself; may be empty
	Addr string // where it connected from or was dialled at
	UID  int    // user at the other end of a unix socket; -1 unknown

	// Role and Subject say who it is, such as agent/n7, user/alice or
	// operator/bob: by its certificate, or, for one who dialled a unix socket,
	// [RoleOperator] or [RoleUser] and the login name (or the number of a user
	// without one). Both are empty on plain TCP, in memory, and for the unix
	// socket that we dialled: nobody vouches for those.
	Role        string
	Subject     string
	Certificate *x509.Certificate // that proved it; nil without TLS
}

// messageSize checks a message against the bounds and returns its bytes.
func messageSize(frames [][]byte) (int, error) {
	if len(frames) == 0 || len(frames) > MaxFrames {
		return 0, ErrTooLarge
	}
	size := 0
	for _, f := range frames {
		if len(f) > MaxFrame {
			return 0, ErrTooLarge
		}
		size += len(f)
	}
	if size > MaxMessage {
		return 0, ErrTooLarge
	}
	return size, nil
}
