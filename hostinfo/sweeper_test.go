package hostinfo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/hostinfo"
	"longshore/internal/placement"
)

// prober knows which hosts answer.
type prober struct {
	mu      sync.Mutex
	answers map[string]bool
	asked   int
}

func (p *prober) Answers(ctx context.Context, address string) bool {
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return p.answers[address]
}

// world is a sweeper, its collector, and nodes that beat and report.
type world struct {
	t  *testing.T
	c  *hostinfo.Collector
	l  *ledger
	p  *prober
	mu sync.Mutex
	// What each node does.
	agent, hostinfo map[placement.NodeID]bool
	daemons         map[placement.NodeID][]placement.DaemonListing
	logs            bytes.Buffer
}

func sweep(t *testing.T, nodes int, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var names []placement.NodeID
		w := &world{t: t, p: &prober{answers: map[string]bool{}}, agent: map[placement.NodeID]bool{}, hostinfo: map[placement.NodeID]bool{}, daemons: map[placement.NodeID][]placement.DaemonListing{}}
		for i := range nodes {
			names = append(names, placement.NodeID(fmt.Sprintf("n%02d", i)))
			w.agent[names[i]], w.hostinfo[names[i]] = true, true
		}
		w.l = newLedger(names...)
		w.c = newCollector(t, w.l, &agents{})
		s, err := hostinfo.NewSweeper(hostinfo.SweeperConfig{Logger: slog.New(slog.NewTextHandler(&w.logs, nil)), Rand: rand.New(rand.NewPCG(1, 2))}, w.c, w.l, w.p)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		for i, n := range names {
			wg.Go(func() { w.live(ctx, n, time.Duration(i)*7*time.Millisecond) })
		}
		time.Sleep(10 * time.Second)
		test(w)
		cancel()
		wg.Wait()
	})
}

// live is what the two processes of a node do.
func (w *world) live(ctx context.Context, name placement.NodeID, phase time.Duration) {
	time.Sleep(phase)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := uint64(1); ; i++ {
		w.mu.Lock()
		agent, host, daemons := w.agent[name], w.hostinfo[name], w.daemons[name]
		w.mu.Unlock()
		if agent {
			_ = w.c.Beat(placement.Beat{Cluster: "c1", Node: name, Role: placement.RoleAgent})
		}
		if host {
			_ = w.c.Beat(placement.Beat{Cluster: "c1", Node: name, Role: placement.RoleHostinfo})
			if i%5 == 1 {
				r := full(name, 1, i, 0)
				if daemons != nil {
					r.Daemons = daemons
				}
				_, _ = w.c.Report(ctx, r)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *world) set(live bool, names ...placement.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range names {
		w.agent[n], w.hostinfo[n] = live, live
	}
}

func (w *world) half(agent, host bool, name placement.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agent[name], w.hostinfo[name] = agent, host
}

func (w *world) state(name placement.NodeID) placement.NodeState {
	w.t.Helper()
	return status(w.t, w.c, name).State
}

func TestDeadNodeIsLostAfter30Seconds(t *testing.T) {
	sweep(t, 3, func(w *world) {
		w.set(false, "n01")
		for _, c := range []struct {
			at    time.Duration
			state placement.NodeState
		}{{14 * sec, placement.NodeReady}, {17 * sec, placement.NodeSuspect}, {28 * sec, placement.NodeSuspect}, {33 * sec, placement.NodeLost}} {
			time.Sleep(c.at - (time.Since(w.l.start) - 10*sec))
			if got := w.state("n01"); got != c.state {
				t.Errorf("%v after it died: %s, want %s", c.at, got, c.state)
			}
		}
		got := w.l.losses()
		if len(got) != 1 || got[0].Node != "n01" || got[0].count != 3 || got[0].after < 39*time.Second || got[0].after > 42*time.Second {
			t.Errorf("losses %+v, want n01's 3 some 30 s after 10 s", got)
		}
		time.Sleep(time.Hour)
		w.set(true, "n01")
		time.Sleep(6 * time.Second)
		if got := w.state("n01"); got != placement.NodeReady {
			t.Errorf("it came back and is %s", got)
		}
		w.l.mu.Lock()
		w.l.holds["n01"] = 2
		w.l.mu.Unlock()
		w.set(false, "n01")
		time.Sleep(12 * time.Second)
		if got := w.state("n01"); got != placement.NodeReady {
			t.Errorf("12 s into its second silence it is %s", got)
		}
		time.Sleep(22 * time.Second)
		if got := w.l.losses(); len(got) != 2 || got[1].count != 2 || w.state("n01") != placement.NodeLost {
			t.Errorf("after its second silence: %+v, %s", got, w.state("n01"))
		}
		w.p.mu.Lock()
		defer w.p.mu.Unlock()
		if w.p.asked < 6 || w.p.asked > 14 {
			t.Errorf("its host was probed %d times", w.p.asked)
		}
	})
}

func TestNodeWhoseHostAnswersGets300Seconds(t *testing.T) {
	sweep(t, 3, func(w *world) {
		w.p.answers["addr-n01"] = true
		w.set(false, "n01")
		time.Sleep(295 * time.Second)
		if got := w.l.losses(); len(got) != 0 {
			t.Fatalf("lost early: %+v", got)
		}
		time.Sleep(10 * time.Second)
		if got := w.l.losses(); len(got) != 1 || !got[0].HostAnswers || w.state("n01") != placement.NodeLost {
			t.Errorf("losses %+v, state %s", got, w.state("n01"))
		}
	})
}

func TestOneProcessMissingIsNotSilence(t *testing.T) {
	for name, agent := range map[string]bool{"hostinfod down": true, "agentd down": false} {
		t.Run(name, func(t *testing.T) {
			sweep(t, 3, func(w *world) {
				w.half(agent, !agent, "n01")
				time.Sleep(29 * time.Second)
				if got := w.state("n01"); got != placement.NodeReady {
					t.Errorf("after 29 s: %s", got)
				}
				time.Sleep(6 * time.Second)
				if s := status(t, w.c, "n01"); s.State != placement.NodeSuspect || len(s.Alarms) != 1 || s.Agent != agent || s.Hostinfo == agent {
					t.Errorf("after 35 s: %+v", s)
				}
				time.Sleep(260 * time.Second)
				if got := w.l.losses(); len(got) != 0 {
					t.Fatalf("after 295 s: lost %+v", got)
				}
				w.set(true, "n01") // in time
				time.Sleep(20 * time.Second)
				if got := w.l.losses(); len(got) != 0 || w.state("n01") != placement.NodeReady {
					t.Fatalf("it is back, lost %+v, %s", got, w.state("n01"))
				}
				w.half(agent, !agent, "n01") // and for good
				time.Sleep(310 * time.Second)
				if got := w.l.losses(); len(got) != 1 || w.state("n01") != placement.NodeLost {
					t.Errorf("after 310 s: lost %+v, %s", got, w.state("n01"))
				}
				w.set(true, "n01")
				time.Sleep(7 * time.Second)
				if got := w.state("n01"); got != placement.NodeReady {
					t.Errorf("back again: %s", got)
				}
			})
		})
	}
}

func TestDaemonThatCannotBeListedIsLostAlone(t *testing.T) {
	sweep(t, 3, func(w *world) {
		w.l.owned["n01"] = map[string]int{"alice": 2, "bob": 2}
		w.mu.Lock()
		w.daemons["n01"] = []placement.DaemonListing{{Owner: "alice", Err: "connection refused"}, {Owner: "bob", OK: true}}
		w.mu.Unlock()
		time.Sleep(24 * time.Second) // it was last listed some 5 s before
		if got := w.l.losses(); len(got) != 0 {
			t.Fatalf("lost early: %+v", got)
		}
		time.Sleep(12 * time.Second)
		got := w.l.losses()
		if len(got) != 1 || got[0].Owner != "alice" || got[0].count != 2 || w.state("n01") != placement.NodeReady {
			t.Errorf("losses %+v, state %s", got, w.state("n01"))
		}
		// Bob's goes from the listing altogether: it is as mute.
		w.mu.Lock()
		w.daemons["n01"] = []placement.DaemonListing{{Owner: "alice", OK: true}}
		w.mu.Unlock()
		time.Sleep(45 * time.Second)
		if got := w.l.losses(); len(got) != 2 || got[1].Owner != "bob" {
			t.Errorf("losses %+v", got)
		}
		if s := status(t, w.c, "n01"); len(s.Alarms) != 0 {
			t.Errorf("a daemon that is gone, and nothing of it left, still alarms: %v", s.Alarms)
		}
	})
}

func TestLossIsSlow(t *testing.T) {
	sweep(t, 10, func(w *world) {
		w.l.holds["n01"], w.l.holds["n02"] = 150, 40
		w.set(false, "n01", "n02")
		time.Sleep(60 * time.Second)
		got := w.l.losses()
		seconds, began := map[time.Duration]int{}, map[placement.NodeID]time.Duration{}
		total := 0
		for _, l := range got {
			seconds[l.after.Truncate(time.Second)] += l.count
			total += l.count
			if _, ok := began[l.Node]; !ok {
				began[l.Node] = l.after
			}
		}
		for s, n := range seconds {
			if n > 10 {
				t.Errorf("%d placements put back in second %v", n, s)
			}
		}
		apart := (began["n02"] - began["n01"]).Abs()
		if total != 190 || len(began) != 2 || apart < 10*time.Second || apart > 16*time.Second {
			t.Errorf("%d placements put back, of nodes that began at %v", total, began)
		}
	})
}

func TestSmallNodesBeginApartToo(t *testing.T) {
	sweep(t, 10, func(w *world) {
		w.set(false, "n01", "n02")
		time.Sleep(60 * time.Second)
		got := w.l.losses()
		if len(got) != 2 || got[0].Node == got[1].Node || got[1].after-got[0].after < 10*time.Second {
			t.Errorf("losses %+v, want two nodes 10 s apart", got)
		}
	})
}

func TestMassSilenceIsHeldAndReleased(t *testing.T) {
	sweep(t, 10, func(w *world) {
		dead := []placement.NodeID{"n01", "n02", "n03"}
		w.set(false, dead...)
		time.Sleep(20 * time.Minute)
		if got := w.l.losses(); len(got) != 0 {
			t.Fatalf("lost %+v", got)
		}
		for _, n := range []placement.NodeID{"n01", "n05"} {
			if s := status(t, w.c, n); !strings.Contains(strings.Join(s.Alarms, ""), "3 of 10 nodes fell silent together") {
				t.Errorf("%s says %q", n, s.Alarms)
			}
		}
		if n := strings.Count(w.logs.String(), "too many nodes silent together"); n != 4 {
			t.Errorf("said %d times in the log, want each 5 minutes", n)
		}
		w.set(true, "n01") // recovery of one releases the others
		time.Sleep(30 * time.Second)
		if got := w.l.losses(); len(got) != 2 || w.state("n02") != placement.NodeLost || w.state("n01") != placement.NodeReady {
			t.Errorf("released: lost %+v", got)
		}
	})
}

func TestOperatorsWordReleases(t *testing.T) {
	sweep(t, 10, func(w *world) {
		w.set(false, "n01", "n02", "n03")
		time.Sleep(5 * time.Minute)
		w.l.mu.Lock()
		w.l.records[3].GivenUp = true
		w.l.mu.Unlock()
		time.Sleep(30 * time.Second)
		if got := w.l.losses(); len(got) != 2 || slices.ContainsFunc(got, func(l lost) bool { return l.Node == "n03" }) || w.state("n03") != placement.NodeGivenUp {
			t.Errorf("n03 was given up: lost %+v, it is %s", got, w.state("n03"))
		}
	})
}

func TestNobodyHeardIsOurOwnFault(t *testing.T) {
	sweep(t, 3, func(w *world) {
		w.set(false, "n00", "n01", "n02")
		time.Sleep(10 * time.Minute)
		w.set(true, "n00", "n02")
		if s := status(t, w.c, "n01"); s.State != placement.NodeSilent || !strings.Contains(strings.Join(s.Alarms, ""), "suspects itself") {
			t.Errorf("meanwhile: %+v", s)
		}
		time.Sleep(28 * time.Second)
		if got := w.l.losses(); len(got) != 0 {
			t.Fatalf("lost %+v", got)
		}
		time.Sleep(10 * time.Second)
		if got := w.l.losses(); len(got) != 1 || got[0].Node != "n01" {
			t.Errorf("30 s after others were heard again: lost %+v", got)
		}
		if n := strings.Count(w.logs.String(), "suspecting ourselves: all"); n != 1 {
			t.Errorf("said %d times in the log", n)
		}
	})
}

func TestFailingLedgerVoidsSilences(t *testing.T) {
	sweep(t, 3, func(w *world) {
		w.set(false, "n01")
		w.l.mu.Lock()
		w.l.fail = errors.New("fsync: input/output error")
		w.l.mu.Unlock()
		time.Sleep(2 * time.Minute)
		w.l.mu.Lock()
		w.l.fail = nil
		w.l.mu.Unlock()
		time.Sleep(20 * time.Second)
		if got := w.l.losses(); len(got) != 0 {
			t.Fatalf("lost %+v within 20 s of the ledger's recovery", got)
		}
		time.Sleep(20 * time.Second)
		if got := w.l.losses(); len(got) != 1 {
			t.Errorf("lost %+v", got)
		}
	})
}

func TestHiccupsLoseNothing(t *testing.T) {
	sweep(t, 5, func(w *world) {
		rng := rand.New(rand.NewPCG(3, 4))
		for range 200 {
			n := placement.NodeID(fmt.Sprintf("n%02d", rng.IntN(5)))
			w.set(false, n)
			time.Sleep(time.Duration(rng.IntN(27)) * time.Second)
			w.set(true, n)
			time.Sleep(1500 * time.Millisecond)
		}
		if got := w.l.losses(); len(got) != 0 {
			t.Errorf("lost %+v", got)
		}
	})
}
