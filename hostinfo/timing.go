package hostinfo

import (
	"context"
	"time"
)

// jitter is d, give or take 10 %; r is a random number in [0, 1).
func jitter(d time.Duration, r float64) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*r))
}

// backoff is how long to wait after so many failures in a row: up to 0.1 s
// doubled each time, 5 s at most, at random.
func backoff(failures int, r float64) time.Duration {
	most := min(100*time.Millisecond<<min(failures, 10), 5*time.Second)
	return time.Duration(r * float64(most))
}

// pause waits, or returns the error of a ctx that ended before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// poke wakes whoever waits on c, a channel that holds one word.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func first(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func last(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// unless is err, or nil if ctx has ended: then there is nothing to tell.
func unless(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return nil
}
