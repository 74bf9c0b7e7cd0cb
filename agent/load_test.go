package agent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"longshore/internal/placement"
)

// A thousand offers at once: what is promised never passes the capacity, and
// everything that fits is taken.
func TestReservationsNeverOvercommit(t *testing.T) {
	inWorld(t, func(w *world) {
		const offers, fit = 1000, 8 // 4 cores of 0.5
		var taken atomic.Int32
		over := func() {
			if r := w.agent.Room(); !r.Capacity.Fits(r.Promised) {
				t.Errorf("promised %+v of %+v", r.Promised, r.Capacity)
			}
		}
		w.docker.hook("create", func(context.Context) error { over(); return nil })
		var all sync.WaitGroup
		for i := range offers {
			all.Go(func() {
				offer := placement.Offer{Mark: w.ledger.now(), Cluster: "c1", ID: id(placement.Replica(fmt.Sprintf("alice/shop/web/%d", i+1)), 1), Epoch: epoch(1), Request: request()}
				a, err := w.agent.Offer(w.t.Context(), offer)
				if err != nil {
					t.Error(err)
				}
				if a.Taken {
					taken.Add(1)
				} else if a.Reason.Code != placement.ReasonCPU {
					t.Errorf("passed: %s", a.Reason)
				}
				over()
			})
		}
		all.Wait()
		w.settle()
		if n := taken.Load(); n != fit || w.docker.count() != fit {
			t.Errorf("%d taken, %d containers, want %d", n, w.docker.count(), fit)
		}
	})
}

// Offers, exits, orders, links and failures at random: at the end, with
// everything ordered away, nothing is left.
func TestTurmoil(t *testing.T) {
	inWorld(t, func(w *world) {
		w.ledger.turmoil = true
		for seed := range uint64(3) {
			w.turmoil(rand.New(rand.NewPCG(seed, 1)))
		}
	})
}

func (w *world) turmoil(r *rand.Rand) {
	var mu sync.Mutex
	roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
	luck := func(p float64) bool { return float64(roll(1000)) < 1000*p }
	for _, step := range []string{"ensure", "create", "start", "remove", "pull alice/shop@sha256:1"} {
		w.docker.hook(step, func(ctx context.Context) error {
			time.Sleep(time.Duration(1+len(step)) * 7 * time.Millisecond)
			if luck(0.1) {
				return fmt.Errorf("%s: bad luck", step)
			}
			return nil
		})
	}
	w.ledger.set(func(l *fakeLedger) {
		l.bind = func(b placement.Bind) (placement.BindAnswer, error) {
			switch {
			case luck(0.1):
				return placement.BindAnswer{}, errDown
			case luck(0.2):
				return placement.BindAnswer{Verdict: placement.VerdictNo}, nil
			case luck(0.1):
				return placement.BindAnswer{Verdict: placement.VerdictWait, Wait: 50}, nil
			}
			return placement.BindAnswer{Verdict: placement.VerdictYes}, nil
		}
	})
	var ids []placement.ID
	for i := range 200 {
		p := id(placement.Replica(fmt.Sprintf("alice/shop/web/%d", i%20+1)), 1)
		ids = append(ids, p)
		w.offer(p, request())
		w.rest(time.Duration(roll(40)) * time.Millisecond)
		switch victim := ids[roll(len(ids))]; roll(6) {
		case 0:
			if w.docker.state(victim) == placement.CopyRunning {
				_ = w.docker.set(victim, placement.CopyExited, 1)
			}
		case 1:
			w.order(victim)
		case 2:
			if roll(10) == 0 {
				w.agent.Linked()
			}
		case 3:
			w.docker.vanish(victim, epoch(1))
		}
		if room := w.agent.Room(); !room.Capacity.Fits(room.Promised) {
			w.t.Fatalf("promised %+v of %+v", room.Promised, room.Capacity)
		}
	}
	for _, step := range []string{"ensure", "create", "start", "remove", "pull alice/shop@sha256:1"} {
		w.docker.hook(step, nil)
	}
	w.ledger.set(func(l *fakeLedger) { l.bind = nil })
	w.rest(time.Minute)
	slices.Sort(ids)
	for _, p := range slices.Compact(ids) {
		w.order(p)
	}
	w.rest(time.Minute)
	w.nothingLeft()
}

func (w *world) order(p placement.ID) {
	w.t.Helper()
	if err := w.agent.Stop(w.t.Context(), placement.StopOrder{Mark: w.ledger.now(), Cluster: "c1", ID: p, Epoch: epoch(1), Why: "test"}); err != nil && !isRegister(err) {
		w.t.Fatal(err)
	}
}

func isRegister(err error) bool {
	named, ok := err.(interface{ ErrorName() string })
	return ok && named.ErrorName() == placement.KindRegister
}

// While one pull of an owner gets a byte a second, the owner's other
// placements start as fast as without it, and every question is answered.
func TestSlowPullHoldsUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		slow := request()
		slow.Image, slow.Needs = "slow", placement.Resources{CPU: 1, Memory: 1}
		w.docker.hook("pull slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		w.docker.hook("start", func(context.Context) error { time.Sleep(80 * time.Millisecond); return nil })
		measure := func(service string) time.Duration {
			var took []time.Duration
			for i := range 20 {
				p := id(placement.Replica(fmt.Sprintf("alice/shop/%s/%d", service, i+1)), 1)
				begin := time.Now()
				w.mustTake(p, request())
				for w.docker.state(p) != placement.CopyRunning {
					time.Sleep(time.Millisecond)
				}
				took = append(took, time.Since(begin))
				w.settle()
				w.order(p)
				w.settle()
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
		without := measure("before")
		w.mustTake(web1, slow)
		w.settle()
		with := measure("during")
		if with*10 > without*12 {
			t.Errorf("median start %s with a slow pull, %s without", with, without)
		}
		if i := w.agent.Info(); len(i.Work) != 1 || i.Work[0].ID != web1 {
			t.Errorf("work %+v", i.Work)
		}
	})
}

func TestShutDownUndoesWhatIsInFlight(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(id("alice/shop/web/9", 1), request())
		w.docker.hook("pull alice/shop@sha256:1", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		w.mustTake(web1, request())
		w.settle()
		w.stop()
		if given := w.ledger.given(); given != "draining: the agent is stopping" {
			t.Errorf("given %q", given)
		}
		if w.docker.count() != 1 || len(w.claims.held) != 0 {
			t.Errorf("%d containers, %d claims", w.docker.count(), len(w.claims.held))
		}
		w.start()
	})
}
