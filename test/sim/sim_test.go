package sim_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"longshore/test/sim"
)

// TestOneSeed simulates the seed that is asked for. When a promise breaks, it
// leaves out faults as long as it still breaks, and tells the story of what is
// left.
func TestOneSeed(t *testing.T) {
	cfg := config(t, *options.seed)
	cfg.Log = logTo(t)
	r, used := run(t, cfg)
	fmt.Println("fired", sim.Fired(r.Fired))
	if len(r.Violations) > 0 {
		tellStory(t, cfg, r)
	}
	fmt.Println(r.Line(fmt.Sprintf("%.1fs", used.Seconds())))
}

// tellStory shrinks a run that fails, and tells what happened in it.
func tellStory(t *testing.T, cfg sim.Config, r sim.Result) {
	t.Helper()
	for _, v := range r.Violations {
		t.Error(v)
	}
	cfg.Log = nil
	deadline := time.Now().Add(time.Minute)
	cfg.Faults = sim.Shrink(cfg.Faults, func(faults []sim.Fault) bool {
		if time.Now().After(deadline) {
			return false
		}
		smaller := cfg
		smaller.Faults, smaller.First = faults, true
		again, _ := run(t, smaller)
		return again.Kind() == r.Kind()
	})
	cfg.Story = true
	r, _ = run(t, cfg)
	fmt.Printf("the story of seed %d with %d faults:\n", cfg.Seed, len(cfg.Faults))
	for _, line := range r.Relevant() {
		fmt.Println(line)
	}
}

// TestSeeds simulates fresh seeds, each in a process of its own with one CPU,
// as many at a time as there are.
func TestSeeds(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	seeds := make(chan uint64)
	go func() {
		defer close(seeds)
		for i := 0; i != *options.seeds && ctx.Err() == nil; i++ {
			seeds <- config(t, 0).Seed
		}
	}()
	var all tally
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for seed := range seeds {
				all.add(t, seed, child(t.Context(), seed, 1))
			}
		})
	}
	workers.Wait()
	fmt.Printf("%d seeds, %d events, %.1f CPU seconds\n", all.seeds, all.events, all.cpu)
	fmt.Println("fired", sim.Fired(all.fired))
	if missed := sim.Missed(all.fired); all.seeds >= 40 && len(missed) > 0 {
		t.Errorf("rules that never fired in %d seeds: %s", all.seeds, strings.Join(missed, ", "))
	}
}

// tally adds up what the seeds came to.
type tally struct {
	mu     sync.Mutex
	seeds  int
	events int
	cpu    float64
	fired  map[string]int
}

var (
	lastLine = regexp.MustCompile(`(?m)^seed=\d+ nodes=\d+ trace=([0-9a-f]{64}) violations=(\d+) events=(\d+) cpu=([0-9.]+)s$`)
	firedAs  = regexp.MustCompile(`([a-zA-Z:, ]+)=(\d+)`)
)

func (a *tally) add(t *testing.T, seed uint64, out string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := lastLine.FindStringSubmatch(out)
	if m == nil || m[2] != "0" {
		t.Errorf("seed %d (make sim SEED=%d NODES=%d):\n%s", seed, seed, *options.nodes, out)
		return
	}
	fmt.Println(m[0])
	events, _ := strconv.Atoi(m[3])         // both were matched as numbers
	used, _ := strconv.ParseFloat(m[4], 64) //
	a.seeds, a.events, a.cpu = a.seeds+1, a.events+events, a.cpu+used
	if a.fired == nil {
		a.fired = map[string]int{}
	}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "fired "); ok {
			for _, f := range firedAs.FindAllStringSubmatch(rest, -1) {
				n, _ := strconv.Atoi(f[2]) // matched as a number
				a.fired[strings.TrimSpace(f[1])] += n
			}
		}
	}
}

// child runs one seed in a process of its own, with so many CPUs, and returns
// what it prints.
func child(ctx context.Context, seed uint64, cpus int) string {
	return childOf(ctx, os.Args[0], seed, cpus)
}

func childOf(ctx context.Context, binary string, seed uint64, cpus int) string {
	cmd := exec.CommandContext(ctx, binary, "-test.run=^TestOneSeed$", "-test.timeout=30m",
		"-seed="+strconv.FormatUint(seed, 10), "-nodes="+strconv.Itoa(*options.nodes),
		"-placements="+strconv.Itoa(*options.placements), "-minutes="+strconv.Itoa(*options.minutes), "-every="+options.every.String())
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(cpus), "GOGC=400")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// TestSameTrace: a seed is a reproduction, on however many CPUs it runs.
func TestSameTrace(t *testing.T) {
	seed := config(t, *options.seed).Seed
	first := ""
	for i, cpus := range []int{1, 2, 4, 1, 2, 4, 2, 4} {
		binary := os.Args[0]
		if i == 7 && *options.race != "" {
			binary = *options.race
		}
		out := childOf(t.Context(), binary, seed, cpus)
		m := lastLine.FindStringSubmatch(out)
		switch {
		case m == nil:
			t.Fatalf("seed %d with %d CPUs:\n%s", seed, cpus, out)
		case first == "":
			first = m[1]
			fmt.Println(m[0])
		case m[1] != first:
			t.Errorf("seed %d: run %d, with %d CPUs, has trace %s, the first one %s", seed, i, cpus, m[1], first)
		}
	}
}

// TestDefects: a judge that finds nothing in a broken product is broken.
func TestDefects(t *testing.T) {
	for _, d := range sim.Defects() {
		t.Run(strings.ReplaceAll(d.Name, " ", "-"), func(t *testing.T) {
			for seed := range uint64(5) {
				cfg := config(t, seed+1)
				cfg.Defect, cfg.First = d, true
				if r, _ := run(t, cfg); len(r.Violations) > 0 {
					t.Log(r.Violations[0])
					return
				}
			}
			t.Error("nobody saw it in 5 seeds")
		})
	}
}
