package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"longshore/agent"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

func TestRegistersAndPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		if at := w.op(); at != (placement.SessionOp{Session: 1}) {
			t.Errorf("op file after registration: %v", at)
		}
		if c, err := agent.Pinned(w.cfg.StateDir); err != nil || c != "c1" {
			t.Errorf("pinned %q, %v", c, err)
		}
		w.mustTake(web1, request())
		w.settle()
		last := w.op()
		w.stop()

		left := filepath.Join(w.cfg.StateDir, "requests", strings.Repeat("0", 64))
		if err := os.WriteFile(left, []byte("{}"), 0o600); err != nil { // by an agent killed before it created the copy
			t.Fatal(err)
		}
		w.start()
		if files, err := os.ReadDir(filepath.Dir(left)); err != nil || len(files) != 1 || files[0].Name() == filepath.Base(left) {
			t.Errorf("requests after a restart: %v, %v", files, err)
		}
		if s := w.ledger.shown; s.Session != last.Session || s.Cluster != "c1" || s.Mark != w.ledger.mark {
			t.Errorf("showed %+v, want session %d and mark %+v", s, last.Session, w.ledger.mark)
		}
		if at := w.op(); at.Session != 2 {
			t.Errorf("op file after the second registration: %v", at)
		}
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the running copy is %q after a restart", s)
		}
		if r := w.agent.Room(); r.Promised != request().Needs {
			t.Errorf("room %+v", r)
		}
		w.stop()

		w.ledger.cluster = "c2"
		w.start()
		if w.agent.Info().Registered {
			t.Error("registered with another cluster")
		}
		w.stop()
		w.cfg.Cluster = "c2"
		if _, err := agent.New(w.cfg, agent.Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "this node serves cluster c1, not c2") {
			t.Errorf("new with another cluster: %v", err)
		}
	})
}

func TestTwoAgentsOnOneDirectory(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := agent.New(w.cfg, agent.Deps{Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 1))})
		if err == nil || !strings.Contains(err.Error(), "another agent is running with "+w.cfg.StateDir) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSweepComesBeforeTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		web2, web3 := id("alice/shop/web/2", 1), id("alice/shop/web/3", 1)
		w.docker.put(web1, placement.CopyCreated, request())
		w.docker.put(web2, placement.CopyRunning, request())
		w.docker.put(web3, placement.CopyExited, request())
		w.docker.hook("remove", func(context.Context) error {
			if at := w.op(); at.Session != 0 {
				t.Errorf("swept while the file already held %v", at)
			}
			return nil
		})
		w.start()
		if s := w.docker.state(web1); s != "" {
			t.Errorf("the never-started copy is %q", s)
		}
		if s := w.docker.state(web2); s != placement.CopyRunning {
			t.Errorf("the running copy is %q", s)
		}
		// The one that exited, as all do in a reboot, is asked about.
		if s := w.docker.state(web3); s != placement.CopyRunning || len(w.ledger.binds) != 1 || w.ledger.binds[0].ID != web3 {
			t.Errorf("the exited copy is %q after %+v", s, w.ledger.binds)
		}
		w.stop()
	})
}

func TestLinkUpVoidsWhatIsInHand(t *testing.T) {
	inWorld(t, func(w *world) {
		pulling := id("alice/shop/web/2", 1)
		release := make(chan struct{})
		w.docker.hook("pull slow", func(ctx context.Context) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		slow := request()
		slow.Image = "slow"
		w.ledger.bind = verdicts(placement.VerdictWait)
		w.mustTake(web1, request())
		w.mustTake(pulling, slow)
		w.settle()
		if s := w.docker.state(web1); s != placement.CopyCreated {
			t.Fatalf("the copy is %q", s)
		}
		w.agent.Linked()
		w.settle()
		if s := w.docker.state(web1); s != "" {
			t.Errorf("the copy that was asking is %q after a new registration", s)
		}
		if at := w.op(); at.Session != 2 {
			t.Errorf("op %v", at)
		}
		// A pull has nothing in hand: it goes on, and binds in the new session.
		w.ledger.set(func(l *fakeLedger) { l.bind = nil })
		close(release)
		w.settle()
		if s := w.docker.state(pulling); s != placement.CopyRunning {
			t.Errorf("the copy that was pulling is %q", s)
		}
	})
}

func TestNewStartOfTheLedger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.docker.hook("pull alice/shop@sha256:1", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		w.mustTake(web1, request())
		w.settle()
		older := w.ledger.now()
		w.ledger.set(func(l *fakeLedger) { l.mark.Start = placement.NewStart(2, 7) })
		a := w.offer(id("alice/shop/web/2", 1), request())
		if a.Taken || a.Reason.Code != placement.ReasonStarting {
			t.Errorf("offer of a ledger that the node is not registered with: %+v", a)
		}
		w.settle()
		if at := w.op(); at.Session != 2 {
			t.Errorf("op %v, want the session of a new registration", at)
		}
		w.nothingLeft() // the epoch of the old start can never be bound

		w.ledger.set(func(l *fakeLedger) { l.mark.Gen = 2 })
		w.agent.Linked()
		w.settle()
		_, err := w.agent.Offer(w.t.Context(), placement.Offer{Mark: older, Cluster: "c1", ID: web1, Epoch: epoch(1), Request: request()})
		if err == nil || !strings.Contains(err.Error(), "generation") {
			t.Errorf("offer of an older generation: %v", err)
		}
		err = w.agent.Stop(w.t.Context(), placement.StopOrder{Mark: older, Cluster: "c1", ID: web1, Epoch: epoch(1)})
		if err == nil || !strings.Contains(err.Error(), "generation") {
			t.Errorf("order of an older generation: %v", err)
		}
	})
}

func TestWordsOfAnotherCluster(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := w.agent.Offer(w.t.Context(), placement.Offer{Mark: w.ledger.now(), Cluster: "c2", ID: web1, Epoch: epoch(1), Request: request()})
		if err == nil || !strings.Contains(err.Error(), "serves cluster c1, not c2") {
			t.Errorf("offer: %v", err)
		}
		if err := w.agent.Stop(w.t.Context(), placement.StopOrder{Mark: w.ledger.now(), Cluster: "c2", ID: web1, Epoch: epoch(1)}); err == nil {
			t.Error("a stop order was taken")
		}
	})
}

func TestRegistersWhenTheLinkComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ledger.down = true
		w.start()
		w.rest(time.Minute)
		if a := w.agent.Info(); a.Registered {
			t.Error("registered without a link")
		}
		w.ledger.set(func(l *fakeLedger) { l.down = false })
		w.agent.Linked()
		synctest.Wait()
		w.rest(100 * time.Millisecond)
		if a := w.agent.Info(); !a.Registered {
			t.Error("not registered when the link is up")
		}
		w.stop()
	})
}

func TestDaemonThatHangsHoldsUpNoRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.docker.put(web1, placement.CopyCreated, request())
		w.docker.hook("remove", func(ctx context.Context) error { <-ctx.Done(); return errors.Join(dockerd.ErrUnknown, ctx.Err()) })
		w.start()
		w.rest(30 * time.Second)
		if !w.agent.Info().Registered {
			t.Fatal("not registered")
		}
		w.docker.hook("remove", nil)
		w.rest(2 * time.Minute)
		if s := w.docker.state(web1); s != "" {
			t.Errorf("the never-started copy is %q", s)
		}
		w.stop()
	})
}

func TestCounts(t *testing.T) {
	now := agent.Now()
	if again := agent.Now(); again.Asleep < now.Asleep-time.Second || again.Time.Before(now.Time) {
		t.Errorf("went from %+v to %+v", now, again)
	}
	for _, tt := range []struct {
		name         string
		after, slept time.Duration
		want         bool
	}{
		{"at once", 0, 0, true},
		{"just in time", 5*time.Second - 1, 0, true},
		{"too old", 5 * time.Second, 0, false},
		{"clocks read apart", time.Second, 50 * time.Millisecond, true},
		{"slept", time.Second, time.Second, false},
	} {
		then := agent.Instant{Time: now.Time.Add(tt.after), Asleep: now.Asleep + tt.slept}
		if got := agent.Counts(now, then); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
