package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// zmqListener accepts in one goroutine and shakes hands in one per peer, so
// that a silent peer delays nobody.
type zmqListener struct {
	*zmqTransport
	raw   net.Listener
	at    endpoint
	addr  string
	path  string      // of a unix socket
	inode os.FileInfo // what we put there

	crowd  *crowd
	done   chan struct{}
	accept chan *zmqConn
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// Listen binds addr and begins to accept.
func (t *zmqTransport) Listen(ctx context.Context, addr string) (Listener, error) {
	at, err := t.parse(addr)
	if err != nil {
		return nil, err
	}
	l := &zmqListener{
		zmqTransport: t, at: at, crowd: newCrowd(t.opts), done: make(chan struct{}), accept: make(chan *zmqConn),
	}
	if at.network == "unix" {
		err = l.listenUnix(ctx, at.address)
	} else {
		config := net.ListenConfig{Control: tuneSocket}
		if l.raw, err = config.Listen(ctx, "tcp", at.address); err == nil {
			scheme, _, _ := strings.Cut(addr, "://")
			l.addr = scheme + "://" + l.raw.Addr().String()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	ctx = context.WithoutCancel(ctx)
	l.wg.Go(func() { l.loop(ctx) })
	return l, nil
}

// listenUnix makes the socket under a passing name, with its mode and group,
// and renames it: it is never open to others, and a stale file is replaced.
func (l *zmqListener) listenUnix(ctx context.Context, path string) error {
	passing := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%d", time.Now().UnixNano()))
	if len(passing) > 107 {
		return fmt.Errorf("%w: the directory's path is too long", ErrAddress)
	}
	raw, err := (&net.ListenConfig{}).Listen(ctx, "unix", passing)
	if err != nil {
		return err
	}
	raw.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(passing, l.opts.SocketMode)
	if err == nil && l.opts.SocketGroup != 0 {
		err = os.Chown(passing, -1, l.opts.SocketGroup)
	}
	if err == nil {
		l.inode, err = os.Lstat(passing)
	}
	if err == nil {
		err = os.Rename(passing, path)
	}
	if err != nil {
		_ = raw.Close()
		_ = os.Remove(passing)
		return err
	}
	l.raw, l.path, l.addr = raw, path, "ipc://"+path
	return nil
}

func (l *zmqListener) Addr() string { return l.addr }

func (l *zmqListener) Accept(ctx context.Context) (Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctxError(ctx)
	}
}

// Close ends listening and every handshake in progress, removes the unix
// socket if it is still ours, and waits for our goroutines.
func (l *zmqListener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	err := l.raw.Close()
	l.crowd.close()
	if l.path != "" {
		if now, e := os.Lstat(l.path); e == nil && os.SameFile(now, l.inode) {
			err = errors.Join(err, os.Remove(l.path))
		}
	}
	l.wg.Wait()
	return err
}

// loop accepts until the listener is closed. An accept that fails for want of
// file descriptors is tried again, later and later.
func (l *zmqListener) loop(ctx context.Context) {
	pause := 5 * time.Millisecond
	for {
		raw, err := l.raw.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			l.greet(ctx, raw)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.opts.Logger.Warn("accept failed", "addr", l.addr, "pause", pause, "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.done:
			timer.Stop()
			return
		}
		pause = min(2*pause, time.Second)
	}
}

// greet starts the handshake of one peer, or closes it when there is no place
// for it.
func (l *zmqListener) greet(ctx context.Context, raw net.Conn) {
	peer := Peer{Addr: raw.RemoteAddr().String(), UID: peerUID(raw)}
	if peer.UID >= 0 {
		peer.Addr = fmt.Sprintf("uid=%d", peer.UID)
	}
	at, err := l.crowd.enter(raw, sourceOf(raw, peer.UID))
	if err != nil {
		_ = raw.Close()
		l.opts.Logger.Debug("not let in", "addr", peer.Addr, "err", err)
		return
	}
	l.wg.Go(func() { l.shake(ctx, raw, peer, at) })
}

// shake shakes hands with one peer and hands it to Accept.
func (l *zmqListener) shake(ctx context.Context, raw net.Conn, peer Peer, at *place) {
	conn, sock, err := l.secure(raw, l.at, tls.Server)
	var c *zmqConn
	if err == nil {
		c, err = l.open(ctx, conn, sock, l.kind(ROUTER), "", peer, at)
	}
	if err != nil {
		at.free()
		_ = raw.Close()
		l.opts.Logger.Debug("handshake failed", "addr", peer.Addr, "err", err)
		return
	}
	if !at.grown(c.abort) {
		c.abort(errCrowd)
		return
	}
	select {
	case l.accept <- c:
	case <-l.done:
		_ = c.Close() // flushes nothing
	}
}
