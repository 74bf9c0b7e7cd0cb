package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

var web1 = id("alice/shop/web/1", 1)

func withPort() placement.Request {
	r := request()
	r.Ports = []placement.Port{{Container: 80, Host: 8080}}
	return r
}

func TestStepsInTheirOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.ledger.set(func(l *fakeLedger) {
			l.bind = func(b placement.Bind) (placement.BindAnswer, error) {
				file := filepath.Join(w.cfg.StateDir, "requests", strings.TrimPrefix(b.Digest, "sha256:"))
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("request file at bind: %v, %v", info, err)
				}
				return placement.BindAnswer{Verdict: placement.VerdictYes}, nil
			}
		})
		before := w.op()
		w.mustTake(web1, withPort())
		w.settle()
		name := string(web1)
		want := []string{"ensure alice", "pull alice/shop@sha256:1", "create " + name, "expose " + name, "bind " + name, "start " + name, "release " + name}
		if diff := cmp.Diff(want, w.log.take()); diff != "" {
			t.Error(diff)
		}
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the copy is %q", s)
		}
		// Create, bind and start are one op each.
		if at := w.op(); at.Session != before.Session || at.Op != before.Op+3 {
			t.Errorf("op went from %v to %v, want 3 steps", before, at)
		}
		if r := w.agent.Room(); r.Promised != request().Needs || r.Copies != 1 {
			t.Errorf("room %+v", r)
		}
		var phases []string
		for _, p := range w.ledger.progress {
			phases = append(phases, p.Phase)
		}
		if len(phases) == 0 || w.ledger.given() != "" {
			t.Errorf("progress %v, given %q", phases, w.ledger.given())
		}
	})
}

func TestEachStepThatFailsIsUndone(t *testing.T) {
	fails := func(context.Context) error { return fmt.Errorf("no luck: %w", dockerd.ErrRefused) }
	for _, tt := range []struct {
		name  string
		wreck func(w *world)
		given string // reason in the last word of progress
	}{
		{"ensure", func(w *world) { w.docker.hook("ensure", fails) }, "daemon: no luck: docker refused"},
		{"pull", func(w *world) { w.docker.hook("pull alice/shop@sha256:1", fails) }, "image: no luck: docker refused"},
		{"create", func(w *world) { w.docker.hook("create", fails) }, "start: no luck: docker refused"},
		{"create unknown", func(w *world) {
			w.docker.hook("create", func(context.Context) error { return fmt.Errorf("unknown: %w", dockerd.ErrUnknown) })
		}, "start: unknown: no answer from docker: outcome unknown"},
		{"expose", func(w *world) { w.ports.err = errors.New("no rule") }, "host_port: no rule"},
		{"request file", func(w *world) {
			dir := filepath.Join(w.cfg.StateDir, "requests")
			os.Remove(dir)
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, "disk: store the request: "},
		{"bind no", func(w *world) { w.ledger.bind = verdicts(placement.VerdictNo) }, "bind: as the test says"},
		{"room taken behind its back", func(w *world) {
			w.docker.hook("pull alice/shop@sha256:1", func(ctx context.Context) error {
				w.docker.mu.Lock()
				for range 40 {
					w.docker.strangers = append(w.docker.strangers, dockerd.Stranger{Owner: "alice", State: placement.CopyRunning})
				}
				w.docker.mu.Unlock()
				w.docker.events <- dockerd.Event{Resync: true}
				time.Sleep(time.Second)
				return nil
			})
		}, "cpu: need 0.5 cores, have 0 cores"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tt.wreck(w)
				w.mustTake(web1, withPort())
				w.settle()
				w.settle()
				if given := w.ledger.given(); !strings.HasPrefix(given, tt.given) {
					t.Errorf("given up for %q, want %q", given, tt.given)
				}
				w.docker.mu.Lock()
				w.docker.strangers = nil
				w.docker.mu.Unlock()
				w.docker.events <- dockerd.Event{Resync: true}
				w.settle()
				w.nothingLeft()
			})
		})
	}
}

func TestUndoThatFailsIsDoneLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.ledger.bind = verdicts(placement.VerdictNo)
		w.docker.hook("remove", func(context.Context) error { return errors.New("the daemon hangs") })
		w.mustTake(web1, withPort())
		w.settle()
		if r := w.agent.Room(); r.Copies != 1 {
			t.Errorf("room of a copy that could not be removed: %+v", r)
		}
		if a := w.offer(web1, withPort()); a.Taken || a.Reason.Code != placement.ReasonHeld {
			t.Errorf("offer meanwhile: %+v", a)
		}
		w.docker.hook("remove", nil)
		w.rest(10 * time.Second)
		w.nothingLeft()
	})
}

func TestStartThatDockerRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.docker.hook("start", func(context.Context) error { return fmt.Errorf("no such program: %w", dockerd.ErrRefused) })
		w.mustTake(web1, withPort())
		w.rest(10 * time.Millisecond)
		w.ledger.set(func(l *fakeLedger) { l.down = true }) // may be too late; the word must come through anyway
		w.settle()
		w.ledger.set(func(l *fakeLedger) { l.down = false })
		w.rest(10 * time.Second)
		if len(w.ledger.failed) != 1 {
			t.Fatalf("failed was said %d times", len(w.ledger.failed))
		}
		f, bind := w.ledger.failed[0], w.ledger.binds[0]
		if f.ID != web1 || f.Epoch != epoch(1) || f.At.Compare(bind.At) <= 0 || f.Reason.Code != placement.ReasonStart {
			t.Errorf("failed %+v after bind %+v", f, bind)
		}
		if w.ledger.given() != "" {
			t.Errorf("given up after the bind: %s", w.ledger.given())
		}
		w.nothingLeft()
	})
}

func TestStartWithoutAnswerIsNeverFailed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.docker.hook("start", func(context.Context) error { return fmt.Errorf("timeout: %w", dockerd.ErrUnknown) })
		w.mustTake(web1, request())
		w.settle()
		if n := len(w.ledger.failed); n != 0 {
			t.Errorf("failed was said %d times", n)
		}
		if s := w.docker.state(web1); s != placement.CopyCreated {
			t.Fatalf("the copy is %q", s)
		}
		if n := len(w.ledger.binds); n < 2 {
			t.Errorf("%d binds, want more than one: it must ask again", n)
		}
		w.docker.hook("start", nil)
		w.rest(10 * time.Second)
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the copy is %q after Docker answers again", s)
		}
	})
}

func TestAnswersThatDoNotCount(t *testing.T) {
	for name, f := range map[string]func(w *world, b placement.Bind) (placement.BindAnswer, error){
		"older than 5 s": func(w *world, b placement.Bind) (placement.BindAnswer, error) {
			time.Sleep(5 * time.Second)
			return placement.BindAnswer{Verdict: placement.VerdictYes}, nil
		},
		"of another bind": func(w *world, b placement.Bind) (placement.BindAnswer, error) {
			return placement.BindAnswer{Verdict: placement.VerdictYes, At: placement.SessionOp{Session: b.At.Session, Op: b.At.Op - 1}}, nil
		},
		"of an older generation": func(w *world, b placement.Bind) (placement.BindAnswer, error) {
			return placement.BindAnswer{Verdict: placement.VerdictYes, Mark: placement.Mark{Gen: 0, Start: start1, Rev: 99}}, nil
		},
		"stale": func(w *world, b placement.Bind) (placement.BindAnswer, error) {
			return placement.BindAnswer{Verdict: placement.VerdictStale}, nil
		},
		"lost": func(w *world, b placement.Bind) (placement.BindAnswer, error) {
			return placement.BindAnswer{}, errDown
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.ledger.bind = func(b placement.Bind) (placement.BindAnswer, error) { return f(w, b) }
				w.mustTake(web1, withPort())
				w.rest(3 * time.Minute)
				for _, line := range w.log.take() {
					if strings.HasPrefix(line, "start") {
						t.Error("it was started")
					}
				}
				// A copy that never started may give itself up.
				if w.ledger.given() == "" {
					t.Error("it was not given up")
				}
				w.nothingLeft()
			})
		})
	}
}

func TestWaitIsWaitedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.ledger.bind = verdicts(placement.VerdictWait, placement.VerdictWait, placement.VerdictYes)
		begin := time.Now()
		w.mustTake(web1, request())
		for w.docker.state(web1) != placement.CopyRunning {
			w.rest(10 * time.Millisecond)
		}
		if d := time.Since(begin); d < 4*time.Second || d > 5*time.Second {
			t.Errorf("it ran after %s, want two waits of 2 s", d)
		}
	})
}

func TestClaims(t *testing.T) {
	t.Run("held elsewhere", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.claims.held[web1] = "n7"
			a := w.offer(web1, request())
			if a.Taken || a.Reason.String() != "lock: taken by n7" {
				t.Errorf("%+v", a)
			}
			delete(w.claims.held, web1)
			w.nothingLeft()
		})
	})
	t.Run("lockless", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.claims.held[web1] = "n7"
			a, err := w.agent.Offer(w.t.Context(), placement.Offer{Mark: w.ledger.now(), Cluster: "c1", ID: web1, Epoch: epoch(1), Request: request(), Lockless: true})
			if err != nil || !a.Taken || w.claims.asks != 0 {
				t.Errorf("%+v, %v, %d claims", a, err, w.claims.asks)
			}
		})
	})
	t.Run("unreachable", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.claims.err = errors.New("connection refused")
			if a := w.offer(web1, request()); !a.Taken || a.Reason.Code != placement.ReasonNoLocks {
				t.Errorf("%+v, want a take that says that there are no locks", a)
			}
			w.settle()
			if s := w.docker.state(web1); s != placement.CopyRunning {
				t.Errorf("the copy is %q", s)
			}
		})
	})
	t.Run("renewed while it works, lost without harm, not when stalled", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.docker.hook("pull alice/shop@sha256:1", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			w.mustTake(web1, request())
			w.rest(time.Minute)
			if n := w.claims.asks; n < 11 || n > 14 {
				t.Errorf("%d claims in a minute, want one each 5 s", n)
			}
			if n := len(w.ledger.progress); n < 11 || n > 16 {
				t.Errorf("%d words of progress in a minute", n)
			}
			if p := w.ledger.progress[len(w.ledger.progress)-1].Phase; p != "pulling 12 of 80 MB" {
				t.Errorf("phase %q", p)
			}
			w.claims.mu.Lock()
			w.claims.held[web1] = "n7"
			w.claims.mu.Unlock()
			w.rest(time.Minute)
			if w.ledger.given() != "" {
				t.Errorf("gave up when the claim was lost: %s", w.ledger.given())
			}
			w.rest(9 * time.Minute)
			if w.ledger.given() != "image: no progress for 10m0s" {
				t.Errorf("after 11 minutes without progress: %q", w.ledger.given())
			}
			delete(w.claims.held, web1)
			w.nothingLeft()
		})
	})
}
