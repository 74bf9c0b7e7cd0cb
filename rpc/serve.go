package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Serve accepts links on l and serves cfg on each until ctx ends, then closes
// them and the listener, and returns nil when every handler and OnLink has
// returned. An error means that the configuration is wrong or that the
// listener failed.
func Serve(ctx context.Context, l Listener, cfg Config) error {
	s, err := newService(cfg)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return s.attach(ctx, l, s.attend)
}

// attend serves one accepted link until it or ctx ends.
func (s *service) attend(ctx context.Context, conn Conn) {
	l, live := newLink(ctx, s, conn)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // always nil
	defer stop()
	var wg sync.WaitGroup
	if s.OnLink != nil {
		wg.Go(func() { s.OnLink(live, l) })
	}
	l.read(live)
	s.Logger.Debug("link ended", "peer", l.Peer().Name, "addr", l.Peer().Addr, "err", l.Err())
	l.Wait()
	wg.Wait()
}

// Dial connects to addr. The context bounds the dialling; the link lives until
// it is closed or breaks. Handlers get the values of ctx, not its end.
func Dial(ctx context.Context, t Transport, addr string, cfg Config) (*Link, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, err
	}
	conn, err := t.Dial(ctx, addr, cfg.Identity)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	l, live := newLink(context.WithoutCancel(ctx), s, conn)
	go l.read(live)
	return l, nil
}

// Pauses between the attempts of Keep: drawn evenly from 0 to a ceiling that
// doubles from the least to the most.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
	dialLimit  = 10 * time.Second // for one attempt
)

// Keep holds a link to addr for ever: it dials, runs up while the link lives,
// closes the link when up returns, waits for its handlers, and dials again
// after a pause. Every failure is tried again, with full jitter between 0 and
// 0.1 s at first, 10 s at most; a link that lived longer than the pause before
// it could have been starts over. It returns nil when ctx ended and up has returned, or an error at once when
// the configuration or the address can never work.
//
// The context of up ends with the link. What up returns is logged.
func Keep(ctx context.Context, t Transport, addr string, cfg Config, up func(ctx context.Context, l *Link) error) error {
	s, err := newService(cfg)
	if err != nil {
		return err
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		lived, why := s.once(ctx, t, addr, up)
		switch {
		case errors.Is(why, ErrAddress):
			return why
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end that was asked for
		case lived > ceiling(attempt):
			attempt = 0
		}
		pause := Backoff(attempt, s.Rand)
		s.Logger.Info("link is down", "addr", addr, "pause", pause, "err", why)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// once dials and runs up on the link; lived is how long that lasted.
func (s *service) once(ctx context.Context, t Transport, addr string, up func(ctx context.Context, l *Link) error) (lived time.Duration, err error) {
	dialing, cancel := context.WithTimeout(ctx, dialLimit)
	conn, err := t.Dial(dialing, addr, s.Identity)
	cancel()
	if err != nil {
		return 0, fmt.Errorf("dial %s: %w", addr, err)
	}
	began := time.Now()
	l, live := newLink(ctx, s, conn)
	go l.read(live)
	defer l.Wait()
	defer func() { _ = l.Close() }() // always nil
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	s.Logger.Info("link is up", "addr", addr)
	err = up(live, l)
	if err == nil {
		err = l.Err()
	}
	return time.Since(began), err
}

// Backoff draws the pause before attempt n+1, n from 0: evenly between 0 and
// 0.1 s doubled n times, at most 10 s. A nil r is the runtime's randomness.
func Backoff(n int, r *rand.Rand) time.Duration {
	most := ceiling(n)
	if r == nil {
		return rand.N(most + 1)
	}
	return time.Duration(r.Int64N(int64(most) + 1))
}

func ceiling(n int) time.Duration {
	if n > 6 {
		return mostPause
	}
	return min(mostPause, leastPause<<n)
}
