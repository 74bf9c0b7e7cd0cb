package agent_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"longshore/agent"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

var (
	_ agent.Runtime = (*dockerd.Host)(nil)
	_ agent.Eyes    = (*dockerd.Host)(nil)
)

// ears are the broadcaster's end of the link.
type ears struct {
	mu    sync.Mutex
	links []*rpc.Link
	beats atomic.Int32
}

func (e *ears) last() *rpc.Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.links[len(e.links)-1]
}

func (e *ears) methods(l *fakeLedger) rpc.Methods {
	return rpc.Methods{
		"register": rpc.Unary("", "r", func(ctx context.Context, _ *rpc.Call, r placement.Register) (placement.Registered, error) {
			return l.Register(ctx, r)
		}),
		"bind": rpc.Unary("", "b", func(ctx context.Context, _ *rpc.Call, b placement.Bind) (placement.BindAnswer, error) {
			return l.Bind(ctx, b)
		}),
		"failed": rpc.Unary("", "f", func(ctx context.Context, _ *rpc.Call, f placement.Failed) (any, error) {
			return nil, l.Failed(ctx, f)
		}),
		"progress": rpc.Unary("", "p", func(ctx context.Context, _ *rpc.Call, p placement.Progress) (any, error) {
			return nil, l.Progress(ctx, p)
		}),
		"beat": rpc.Unary("", "b", func(_ context.Context, _ *rpc.Call, b placement.Beat) (placement.Mark, error) {
			if b == (placement.Beat{Cluster: "c1", Node: "n1", Role: placement.RoleAgent}) {
				e.beats.Add(1)
			}
			return l.now(), nil
		}),
	}
}

func TestOverALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, net := newWorld(t), &ears{}, rpc.Memory()
		listener, err := net.Listen(t.Context(), "mem://b")
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_ = rpc.Serve(ctx, listener, rpc.Config{Methods: e.methods(w.ledger), OnLink: func(_ context.Context, l *rpc.Link) {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.links = append(e.links, l)
			}})
		})
		remote := agent.NewRemote(net, "mem://b", rpc.Config{Rand: rand.New(rand.NewPCG(1, 3))})
		a, err := agent.New(w.cfg, agent.Deps{
			Runtime: w.docker, Eyes: w.docker, Ports: w.ports, Claims: w.claims, Broadcaster: remote,
			Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.agent = a
		live, stop := context.WithCancel(t.Context())
		all.Go(func() {
			if err := remote.Run(live, a, a.Methods()); err != nil {
				t.Errorf("run: %v", err)
			}
		})
		w.rest(10 * time.Second)
		if n := e.beats.Load(); n < 9 || n > 11 {
			t.Errorf("%d beats in 10 s", n)
		}
		first := w.ledger.session // a try from before the link may come through on it, too
		if first == 0 || first > 2 {
			t.Errorf("registered %d times on one link", first)
		}

		// A new start of the ledger, in the same process, shows with the next beat.
		w.ledger.set(func(l *fakeLedger) { l.mark.Start = placement.NewStart(9, 1) })
		w.rest(2 * time.Second)
		if w.ledger.session <= first {
			t.Error("an idle agent did not register with a new start of the ledger")
		}
		first = w.ledger.session

		var answer placement.OfferAnswer
		offer := placement.Offer{Mark: w.ledger.now(), Cluster: "c1", ID: web1, Epoch: epoch(1), Request: withPort(), Valid: 1000}
		if err := e.last().Call(t.Context(), "offer", &answer, offer); err != nil || !answer.Taken {
			t.Fatalf("offer: %+v, %v", answer, err)
		}
		w.settle()
		var copies []placement.Copy
		if err := e.last().Call(t.Context(), "copies", &copies); err != nil || len(copies) != 1 || copies[0].State != placement.CopyRunning {
			t.Errorf("copies: %+v, %v", copies, err)
		}
		offer.Mark.Gen = 0
		if err := e.last().Call(t.Context(), "offer", nil, offer); err == nil {
			t.Error("an offer of an older generation was answered without an error")
		}

		// The link breaks and comes back: it registers again.
		net.Cut(func(string, string) bool { return true })
		w.rest(10 * time.Second)
		if w.ledger.session <= first || len(e.links) != 2 {
			t.Errorf("session %d, %d links", w.ledger.session, len(e.links))
		}
		if err := e.last().Call(t.Context(), "stop", nil, placement.StopOrder{Mark: w.ledger.now(), Cluster: "c1", ID: web1, Epoch: epoch(1), Why: "removed"}); err != nil {
			t.Errorf("stop: %v", err)
		}
		w.settle()
		w.nothingLeft()

		// Its last words come through.
		w.docker.hook("pull alice/shop@sha256:1", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		offer.Mark, offer.Epoch = w.ledger.now(), epoch(2)
		if err := e.last().Call(t.Context(), "offer", &answer, offer); err != nil || !answer.Taken {
			t.Fatalf("offer: %+v, %v", answer, err)
		}
		w.settle()
		stop()
		w.settle()
		if given := w.ledger.given(); given != "draining: the agent is stopping" {
			t.Errorf("given %q", given)
		}
		end()
		all.Wait()
	})
}
