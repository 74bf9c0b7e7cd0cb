package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-zeromq/zmq4"
	"golang.org/x/sys/unix"
)

// ZMQOptions tune the ZeroMQ transport. The zero value is for one machine:
// unix sockets and TCP on loopback.
type ZMQOptions struct {
	// TLS is what tls:// addresses speak below ZeroMQ. It is asked at each
	// handshake, so that renewed certificates need no restart, and may answer
	// the same again; an error fails the handshake. As a server the
	// configuration needs Certificates, as a client RootCAs; an empty
	// ServerName is filled from the address.
	TLS func() (*tls.Config, error)

	// Subject tells which role and name a peer's certificate gives it. An
	// error ends the connection, and so does a peer that states another ZMTP
	// identity than that name. Nil: Role and Subject of TLS peers stay empty.
	Subject func(*x509.Certificate) (role, name string, err error)

	// AllowPlaintext permits tcp:// on addresses that are not loopback: for a
	// private bridge only, since whoever reaches such an address is believed.
	AllowPlaintext bool

	// Socket is the type of both ends; empty: ROUTER where we listen, DEALER
	// where we dial. See Publisher, Pusher, Subscriber, Puller and WorkQueue.
	Socket Socket

	// SocketMode and SocketGroup of unix sockets that we make.
	SocketMode  os.FileMode // 0: 0660
	SocketGroup int         // group id; 0: the group of this process

	Handshake time.Duration // for TLS and ZMTP together. 0: 5 s

	// Bounds of one listener. MaxHands and MaxMemory put out whoever has been
	// at it longest; the other two close the newcomer.
	MaxConns     int // open at once. 0: 4096
	MaxPerSource int // of those, from one IP address or one user of this machine. 0: half of MaxConns
	MaxHands     int // shaking hands at once. 0: 256
	MaxMemory    int // bytes that peers make us hold by half sent messages and unread answers. 0: 256 MiB

	Logger *slog.Logger // refused connections and failing accepts; nil: none
}

// Socket is a type of ZeroMQ sockets. Which peers it shakes hands with is said
// behind it.
type Socket string

// Types of sockets.
const (
	PUB    Socket = "PUB"    // SUB
	SUB    Socket = "SUB"    // PUB
	PUSH   Socket = "PUSH"   // PULL
	PULL   Socket = "PULL"   // PUSH
	ROUTER Socket = "ROUTER" // DEALER, REQ, ROUTER
	DEALER Socket = "DEALER" // ROUTER, REP, DEALER
)

// kind is the type of our end.
func (t *zmqTransport) kind(usual Socket) zmq4.SocketType {
	if t.opts.Socket != "" {
		usual = t.opts.Socket
	}
	return zmq4.SocketType(usual)
}

// stall is how long a peer may take no byte of what is written to it, at least;
// at most it is twice that.
const stall = 30 * time.Second

// ZMQ is the transport of production: ZMTP 3.0 over "tls://host:port",
// "ipc:///absolute/path" and, in clear, "tcp://host:port". The listening end is a ROUTER, the dialling end a
// DEALER, as in every ZeroRPC.
func ZMQ(opts ZMQOptions) Transport {
	if opts.SocketMode == 0 {
		opts.SocketMode = 0o660
	}
	if opts.Handshake <= 0 {
		opts.Handshake = 5 * time.Second
	}
	if opts.MaxConns <= 0 {
		opts.MaxConns = 4096
	}
	if opts.MaxPerSource <= 0 {
		opts.MaxPerSource = max(1, opts.MaxConns/2)
	}
	if opts.MaxHands <= 0 {
		opts.MaxHands = 256
	}
	if opts.MaxMemory <= 0 {
		opts.MaxMemory = 256 << 20
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &zmqTransport{opts}
}

type zmqTransport struct{ opts ZMQOptions }

// endpoint is a parsed address.
type endpoint struct {
	network string // tcp or unix
	address string // host:port or a path
	host    string // of tcp
	secure  bool   // TLS
}

// parse reads an address and refuses what must not be used.
func (t *zmqTransport) parse(addr string) (endpoint, error) {
	scheme, rest, ok := strings.Cut(addr, "://")
	switch {
	case ok && scheme == "ipc":
		if !filepath.IsAbs(rest) || len(rest) > 104 {
			return endpoint{}, fmt.Errorf("%w: %s: needs an absolute path of at most 104 bytes", ErrAddress, addr)
		}
		return endpoint{network: "unix", address: rest}, nil
	case ok && (scheme == "tcp" || scheme == "tls"):
		secure := scheme == "tls"
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return endpoint{}, fmt.Errorf("%w: %s: %w", ErrAddress, addr, err)
		}
		if host == "*" {
			host = ""
		}
		if secure && t.opts.TLS == nil {
			return endpoint{}, fmt.Errorf("%w: %s: there is no certificate to speak TLS with", ErrAddress, addr)
		}
		if !secure && !t.opts.AllowPlaintext && !loopback(host) {
			return endpoint{}, fmt.Errorf("%w: %s: in clear only loopback may be used; tls:// goes further", ErrAddress, addr)
		}
		return endpoint{network: "tcp", address: net.JoinHostPort(host, port), host: host, secure: secure}, nil
	}
	return endpoint{}, fmt.Errorf("%w: %s: neither tls://host:port nor tcp://host:port nor ipc:///path", ErrAddress, addr)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Dial connects and shakes hands.
func (t *zmqTransport) Dial(ctx context.Context, addr, identity string) (Conn, error) {
	at, err := t.parse(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.opts.Handshake)
	defer cancel()
	dialer := net.Dialer{Control: tuneSocket}
	raw, err := dialer.DialContext(ctx, at.network, at.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, sock, err := t.secure(raw, at, tls.Client)
	var c *zmqConn
	if err == nil {
		c, err = t.open(ctx, conn, sock, t.kind(DEALER), identity, Peer{Addr: addr, UID: peerUID(raw)}, nil)
	}
	if !stop() && err == nil {
		_ = c.Close() // the socket is gone already
		err = ctxError(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return c, nil
}

// secure puts TLS on conn where its endpoint wants it; kind is its end.
func (t *zmqTransport) secure(raw net.Conn, at endpoint, kind func(net.Conn, *tls.Config) *tls.Conn) (net.Conn, *socket, error) {
	sock, err := newSocket(raw)
	if err != nil || !at.secure {
		return sock, sock, err
	}
	conf, err := t.opts.TLS()
	if err != nil {
		return nil, nil, err
	}
	conf = conf.Clone()
	conf.MinVersion = tls.VersionTLS13      // which has neither renegotiation nor, in Go, early data
	conf.DynamicRecordSizingDisabled = true // the flusher hands over batches
	if conf.ServerName == "" {
		conf.ServerName = at.host
	}
	return kind(sock, conf), sock, nil
}

// open shakes hands on conn, within the time for that. A peer that makes zmq4
// panic fails like any other.
func (t *zmqTransport) open(ctx context.Context, conn net.Conn, sock *socket, kind zmq4.SocketType, identity string, peer Peer, at *place) (c *zmqConn, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, fmt.Errorf("malformed handshake: %v", r)
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(t.opts.Handshake)); err != nil {
		return nil, err
	}
	if s, ok := conn.(*tls.Conn); ok {
		if err := s.HandshakeContext(ctx); err != nil {
			return nil, err
		}
	}
	g := newGuard(conn)
	z, err := zmq4.Open(g, nullSecurity(), kind, zmq4.SocketIdentity(identity), kind == zmq4.Router, nil)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if err := t.identify(conn, &peer, z.Peer.Meta["Identity"], at == nil); err != nil {
		return nil, err
	}
	return newZMQConn(g, sock, peer, at), nil
}

// tuneSocket makes the kernel give up on a peer whose machine has vanished.
func tuneSocket(network, _ string, raw syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if ctl := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stall.Milliseconds()))
	}); ctl != nil {
		return ctl
	}
	return err
}
