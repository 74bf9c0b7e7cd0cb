package rpc_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"longshore/rpc"
)

func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		ctx, cancel := context.WithCancel(t.Context())
		var dials []time.Time
		tr.Dials(func(string, string) (time.Duration, error) {
			dials = append(dials, time.Now())
			return 0, nil
		})
		ups := make(chan *rpc.Link, 1)
		done := make(chan error, 1)
		go func() {
			done <- rpc.Keep(ctx, tr, "x", rpc.Config{Identity: "n1", Rand: rand.New(rand.NewPCG(1, 2))}, func(ctx context.Context, l *rpc.Link) error {
				ups <- l
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(dials); n < 80 || n > 200 {
			t.Errorf("%d dials in 10 min of nobody there", n)
		}
		for i := 1; i < len(dials); i++ {
			if d := dials[i].Sub(dials[i-1]); d > 10*time.Second {
				t.Errorf("pause %d is %v", i, d)
			}
		}
		at, stop := server(t, tr, "x", rpc.Config{Methods: house()})
		first := <-ups
		must(t, first.Call(ctx, "add", nil, 1, 2))
		time.Sleep(time.Minute)
		tr.Cut(func(string, string) bool { return true })
		began := time.Now()
		second := <-ups
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("back after %v, for the link had lived long", d)
		}
		if first.Err() == nil {
			t.Error("the first link lives")
		}
		stop()
		<-second.Done()
		_, stop = server(t, tr, at, rpc.Config{})
		third := <-ups
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
		if third.Err() == nil {
			t.Error("the last link lives")
		}
		stop()
	})
	err := rpc.Keep(within(t), rpc.ZMQ(rpc.ZMQOptions{}), "tcp://8.8.8.8:1", rpc.Config{}, nil)
	if !errors.Is(err, rpc.ErrAddress) {
		t.Errorf("an address that can never work: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n, ms := range []int{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		most := time.Duration(ms) * time.Millisecond
		low, high := most, time.Duration(0)
		for range 1000 {
			d := rpc.Backoff(n, r)
			low, high = min(low, d), max(high, d)
		}
		if high > most || high < most*9/10 || low > most/10 || low < 0 {
			t.Errorf("pause %d is from %v to %v", n, low, high)
		}
	}
	if d := rpc.Backoff(1000, nil); d > 10*time.Second {
		t.Errorf("pause 1000 is %v", d)
	}
}

// TestKeepThroughRestarts is the same by Keep, in virtual time.
func TestKeepThroughRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		ctx, cancel := context.WithCancel(t.Context())
		links := make(chan *rpc.Link)
		done := make(chan error, 1)
		go func() {
			done <- rpc.Keep(ctx, tr, "x", rpc.Config{}, func(ctx context.Context, l *rpc.Link) error {
				links <- l
				for {
					if err := l.Call(ctx, "add", nil, 1, 2); err != nil {
						return err
					}
					time.Sleep(50 * time.Millisecond)
				}
			})
		}()
		r := rand.New(rand.NewPCG(3, 4))
		for range 100 {
			_, stop := server(t, tr, "x", rpc.Config{Methods: house()})
			began := time.Now()
			l := <-links
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("back after %v", d)
			}
			time.Sleep(time.Duration(r.Int64N(int64(2 * time.Second))))
			stop()
			<-l.Done()
			time.Sleep(time.Duration(r.Int64N(int64(time.Minute))))
		}
		cancel()
		must(t, <-done)
	})
}
