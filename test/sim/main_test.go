package sim_test

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"longshore/test/sim"
)

// options say what is simulated: go test ./test/sim -args -seed 7 -nodes 500.
var options = struct {
	seed       *uint64
	nodes      *int
	placements *int
	minutes    *int
	seeds      *int
	every      *time.Duration
	log        *string
	only       *string
	race       *string
}{
	seed:       flag.Uint64("seed", 1, "what is simulated; 0: anything"),
	nodes:      flag.Int("nodes", 6, "nodes"),
	placements: flag.Int("placements", 0, "placements wanted in the beginning; 0: ten a node"),
	minutes:    flag.Int("minutes", 4, "virtual minutes with faults; the healing comes after"),
	seeds:      flag.Int("seeds", 4, "fresh seeds that TestSeeds runs; negative: until a signal"),
	every:      flag.Duration("every", 8*time.Second, "mean time between two faults"),
	log:        flag.String("log", "", "file for the whole trace"),
	only:       flag.String("only", "", "the one kind of fault to inject; empty: all"),
	race:       flag.String("race-binary", "", "a test binary built with -race, for TestSameTrace"),
}

// config is the run of one seed, in a directory of its own.
func config(t *testing.T, seed uint64) sim.Config {
	t.Helper()
	if seed == 0 {
		seed = rand.Uint64()>>1 + 1
	}
	n := *options.nodes
	cfg := sim.Config{
		Seed: seed, Nodes: n, Placements: *options.placements,
		Length: time.Duration(*options.minutes) * time.Minute,
	}
	if cfg.Placements == 0 {
		cfg.Placements = 10 * n
	}
	cfg.Faults = sim.Faults(seed, n, cfg.Length, *options.every)
	for i := range cfg.Faults {
		cfg.Faults[i].Kind = cmp.Or(*options.only, cfg.Faults[i].Kind)
	}
	return cfg
}

// run simulates in a fresh directory in memory: the agents' files are real.
func run(t *testing.T, cfg sim.Config) (sim.Result, time.Duration) {
	t.Helper()
	cfg.Dir = fmt.Sprintf("/dev/shm/longshore-sim-%016x-%08d", cfg.Seed, os.Getpid())
	os.RemoveAll(cfg.Dir)
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(cfg.Dir)
	begun := cpu(t)
	r := sim.Run(t, cfg)
	return r, cpu(t) - begun
}

// cpu is what this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// logTo opens the file for the trace, if one is asked for.
func logTo(t *testing.T) io.Writer {
	t.Helper()
	if *options.log == "" {
		return nil
	}
	f, err := os.Create(filepath.Clean(*options.log))
	if err != nil {
		t.Fatal(err)
	}
	b := bufio.NewWriterSize(f, 1<<20)
	t.Cleanup(func() {
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
		f.Close()
	})
	return b
}
