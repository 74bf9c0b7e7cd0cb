package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// running makes the placement run.
func (w *world) running(id placement.ID, r placement.Request) {
	w.t.Helper()
	w.mustTake(id, r)
	w.settle()
	if s := w.docker.state(id); s != placement.CopyRunning {
		w.t.Fatalf("%s is %q", id, s)
	}
	w.log.take()
}

func TestExits(t *testing.T) {
	for _, tt := range []struct {
		name     string
		verdicts []string
		want     placement.CopyState // after 30 s
		asked    int
	}{
		{"start again", []string{placement.VerdictYes}, placement.CopyRunning, 1},
		{"wait, then start again", []string{placement.VerdictWait, placement.VerdictWait, placement.VerdictYes}, placement.CopyRunning, 3},
		{"not wanted", []string{placement.VerdictNo}, "", 1},
		{"done", []string{placement.VerdictDone}, placement.CopyExited, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.running(web1, withPort())
				w.ledger.set(func(l *fakeLedger) { l.binds, l.bind = nil, verdicts(tt.verdicts...) })
				if err := w.docker.set(web1, placement.CopyExited, 3); err != nil {
					t.Fatal(err)
				}
				w.rest(30 * time.Second)
				if s := w.docker.state(web1); s != tt.want {
					t.Errorf("the copy is %q, want %q", s, tt.want)
				}
				if n := len(w.ledger.binds); n != tt.asked {
					t.Errorf("asked %d times, want %d", n, tt.asked)
				}
				for _, b := range w.ledger.binds {
					if b.Exit == nil || *b.Exit != 3 || b.Digest != withPort().Digest() {
						t.Errorf("asked %+v", b)
					}
				}
				if tt.want == "" {
					w.nothingLeft()
				}
				if open := w.ports.open[web1]; open != (tt.want == placement.CopyRunning) {
					t.Errorf("ports open: %t", open)
				}
			})
		})
	}
}

func TestExitIsAskedUntilAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(web1, request())
		w.ledger.set(func(l *fakeLedger) { l.down = true })
		if err := w.docker.set(web1, placement.CopyExited, 1); err != nil {
			t.Fatal(err)
		}
		w.rest(10 * time.Minute)
		if s := w.docker.state(web1); s != placement.CopyExited {
			t.Errorf("a copy that was bound gave itself up: %q", s)
		}
		w.ledger.set(func(l *fakeLedger) { l.down = false })
		w.rest(10 * time.Second)
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the copy is %q", s)
		}
		ats := map[placement.SessionOp]bool{}
		for _, b := range w.ledger.binds {
			if ats[b.At] {
				t.Errorf("op %v was used twice", b.At)
			}
			ats[b.At] = true
		}
	})
}

func TestExitOfARestartThatDockerRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(web1, withPort())
		w.docker.hook("start", func(context.Context) error { return fmt.Errorf("no: %w", dockerd.ErrRefused) })
		if err := w.docker.set(web1, placement.CopyExited, 1); err != nil {
			t.Fatal(err)
		}
		w.settle()
		if len(w.ledger.failed) != 1 {
			t.Errorf("failed was said %d times", len(w.ledger.failed))
		}
		w.nothingLeft()
	})
}

func TestExitThatDockerIsSlowToShow(t *testing.T) {
	// The event comes first; for some milliseconds a listing still says running.
	inWorld(t, func(w *world) {
		w.running(web1, request())
		w.docker.mu.Lock()
		told := w.docker.here[web1].Copy
		w.docker.mu.Unlock()
		told.State = placement.CopyExited
		before := len(w.ledger.binds)
		w.docker.tell(told)
		time.Sleep(30 * time.Millisecond)
		w.docker.mu.Lock()
		w.docker.here[web1].State = placement.CopyExited
		w.docker.mu.Unlock()
		w.settle()
		if n := len(w.ledger.binds); n != before+1 {
			t.Errorf("asked %d times", n-before)
		}
	})
}

func TestWhatPeopleDoBehindItsBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(web1, withPort())
		w.docker.vanish(web1, epoch(1))
		w.settle()
		w.nothingLeft()

		w.running(web1, withPort())
		if err := w.docker.set(web1, placement.CopyExited, 137); err != nil { // docker stop
			t.Fatal(err)
		}
		w.settle()
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the copy that people stopped is %q", s)
		}
	})
}

func TestDaemonThatCannotBeListedKeepsItsRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(web1, request())
		w.docker.mu.Lock()
		w.docker.broken["alice"] = true
		w.docker.mu.Unlock()
		w.docker.events <- dockerd.Event{Resync: true}
		w.settle()
		if r := w.agent.Room(); r.Copies != 1 {
			t.Errorf("room %+v", r)
		}
	})
}

func TestStopOrders(t *testing.T) {
	order := func(w *world, e placement.Epoch) placement.StopOrder {
		return placement.StopOrder{Mark: w.ledger.now(), Cluster: "c1", ID: web1, Epoch: e, Why: "removed"}
	}
	t.Run("running, twice", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.running(web1, withPort())
			w.docker.hook("remove", func(context.Context) error { time.Sleep(8 * time.Second); return nil })
			before, begin := w.op(), time.Now()
			for range 3 {
				if err := w.agent.Stop(w.t.Context(), order(w, epoch(1))); err != nil {
					t.Fatal(err)
				}
			}
			if time.Since(begin) > 0 {
				t.Error("the order was answered only when it was carried out")
			}
			w.rest(20 * time.Second)
			want := []string{"withdraw " + string(web1), "remove " + string(web1)}
			if got := w.log.take(); !slices.Equal(got, want) {
				t.Errorf("did %q, want %q", got, want)
			}
			if at := w.op(); at.Op != before.Op+1 {
				t.Errorf("op went from %v to %v", before, at)
			}
			w.nothingLeft()
			if err := w.agent.Stop(w.t.Context(), order(w, epoch(1))); err != nil {
				t.Errorf("order for what is gone: %v", err)
			}
			w.settle()
		})
	})
	t.Run("another epoch is left alone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.running(web1, withPort())
			if err := w.agent.Stop(w.t.Context(), order(w, epoch(2))); err != nil {
				t.Fatal(err)
			}
			w.settle()
			if s := w.docker.state(web1); s != placement.CopyRunning || !w.ports.open[web1] {
				t.Errorf("the copy is %q, ports %v", s, w.ports.open)
			}
		})
	})
	t.Run("while it pulls", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.docker.hook("pull alice/shop@sha256:1", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			w.mustTake(web1, withPort())
			w.settle()
			if err := w.agent.Stop(w.t.Context(), order(w, epoch(1))); err != nil {
				t.Fatal(err)
			}
			w.settle()
			if !strings.Contains(w.ledger.given(), "ordered to stop") {
				t.Errorf("given %q", w.ledger.given())
			}
			w.nothingLeft()
		})
	})
	t.Run("while it waits to be started again", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.running(web1, withPort())
			w.ledger.set(func(l *fakeLedger) { l.bind = verdicts(placement.VerdictWait) })
			if err := w.docker.set(web1, placement.CopyExited, 1); err != nil {
				t.Fatal(err)
			}
			w.settle()
			if err := w.agent.Stop(w.t.Context(), order(w, epoch(1))); err != nil {
				t.Fatal(err)
			}
			w.settle()
			w.nothingLeft()
		})
	})
	t.Run("until it is gone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.running(web1, request())
			w.docker.hook("remove", func(context.Context) error { return dockerd.ErrUnknown })
			if err := w.agent.Stop(w.t.Context(), order(w, epoch(1))); err != nil {
				t.Fatal(err)
			}
			w.rest(time.Minute)
			w.docker.hook("remove", nil)
			w.rest(10 * time.Second)
			w.nothingLeft()
		})
	})
}

func TestDoneIsAskedAgainWhenItIsOfferedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(web1, request())
		w.ledger.set(func(l *fakeLedger) {
			l.bind = verdicts(placement.VerdictDone, placement.VerdictNo, placement.VerdictYes)
		})
		if err := w.docker.set(web1, placement.CopyExited, 0); err != nil {
			t.Fatal(err)
		}
		w.settle()
		next := placement.Offer{Mark: w.ledger.now(), Cluster: "c1", ID: web1, Epoch: epoch(2), Request: request()}
		if a, err := w.agent.Offer(w.t.Context(), next); err != nil || a.Reason.Code != placement.ReasonHeld {
			t.Errorf("%+v, %v", a, err)
		}
		w.settle()
		next.Mark = w.ledger.now()
		if a, err := w.agent.Offer(w.t.Context(), next); err != nil || !a.Taken {
			t.Errorf("%+v, %v", a, err)
		}
		w.settle()
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the copy is %q", s)
		}
	})
}

func TestAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		web2 := id("alice/shop/web/2", 1)
		second := request()
		second.Ports = []placement.Port{{Container: 80, Host: 8081}}
		w.running(web1, withPort())
		w.running(web2, second)
		w.stop()
		// While it was down one copy vanished, and the rules of a third stayed.
		w.docker.vanish(web2, epoch(1))
		w.ports.open = map[placement.ID]bool{web2: true, "bob/x/y/1." + placement.ID(start1.Life(9)): true}
		w.start()
		if len(w.ports.open) != 1 || !w.ports.open[web1] {
			t.Errorf("ports %v, want those of %s alone", w.ports.open, web1)
		}
		// The request is read again from its file: its port is still kept.
		if a := w.offer(id("alice/shop/web/3", 1), withPort()); a.Reason.String() != "host_port 8080/tcp held by alice/shop/web/1" {
			t.Errorf("%+v", a)
		}
		if files, _ := os.ReadDir(filepath.Join(w.cfg.StateDir, "requests")); len(files) > 2 {
			t.Errorf("request files %v", files)
		}
		w.stop()
	})
}
