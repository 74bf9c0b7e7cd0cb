package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// attach gives f every connection that l accepts until ctx ends, each in a
// goroutine of its own. Then it closes l and waits for them.
func (s *service) attach(ctx context.Context, l Listener, f func(ctx context.Context, c Conn)) (err error) {
	defer func() { err = errors.Join(err, l.Close()) }()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		conn, err := l.Accept(ctx)
		switch {
		case err == nil:
			wg.Go(func() { f(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		default:
			return fmt.Errorf("accept: %w", err)
		}
	}
}

// one runs f on a connection, which is closed when f or ctx has ended.
func (s *service) one(ctx context.Context, c Conn, f func(ctx context.Context, c Conn) error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	err := f(ctx, c)
	stop()
	_ = c.Close() // always nil
	s.Logger.Debug("connection ended", "peer", c.Peer().Name, "addr", c.Peer().Addr, "err", err)
}

// reattach dials addr for ever, and gives f each connection, as Keep does.
func (s *service) reattach(ctx context.Context, t Transport, addr string, f func(ctx context.Context, c Conn) error) error {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		dialing, cancel := context.WithTimeout(ctx, dialLimit)
		conn, err := t.Dial(dialing, addr, s.Identity)
		cancel()
		if errors.Is(err, ErrAddress) {
			return err
		}
		if err == nil {
			s.one(ctx, conn, f)
		}
		if err == nil && time.Since(began) > ceiling(attempt) {
			attempt = 0
		}
		timer := time.NewTimer(Backoff(attempt, s.Rand))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}
