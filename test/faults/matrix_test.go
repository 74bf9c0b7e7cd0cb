package faults_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"longshore/test/cluster"
)

// kind is one row of the matrix: a kind of fault, and what must become of it
// beside what the checker demands of every row.
type kind struct {
	row   string // name of the row, unique
	times int    // faults in a full run
	// busy: an app is changed meanwhile, and the fault strikes somewhere
	// between the first and the last of its steps.
	busy bool
	// live: the cluster comes to rest while the fault lasts. Nodes that are cut
	// off are left out of that.
	live bool
	// still: no container of an app that nobody changed is another one after it.
	still   bool
	options cluster.Options
	pull    bool // the registry can be slow, or fail
	// inject does the fault, and returns what ends it; nil: nothing has to.
	inject func(s *stage) (heal func())
}

// families are the rows of the matrix, each family in its own file.
func families() map[string][]kind {
	return map[string][]kind{
		"redis":       redisKinds(),
		"agent":       agentKinds(),
		"broadcaster": broadcasterKinds(),
		"docker":      dockerKinds(),
		"behind":      behindKinds(),
		"network":     networkKinds(),
	}
}

// chosen are the rows that the environment's ROWS names, by family or by a part
// of their names, with commas between; "short": three at random, by the seed;
// "all" or nothing: all.
func chosen(rows string, seed uint64) (kinds []kind) {
	byFamily := families()
	names := make([]string, 0, len(byFamily))
	for name := range byFamily {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, k := range byFamily[name] {
			k.row = name + ": " + k.row
			kinds = append(kinds, k)
		}
	}
	switch rows {
	case "", "all":
		return kinds
	case "none":
		return nil
	case "short":
		kinds = slices.DeleteFunc(kinds, func(k kind) bool { return k.times < 6 }) // the others take long
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		return kinds[:3]
	}
	return slices.DeleteFunc(kinds, func(k kind) bool {
		return !slices.ContainsFunc(strings.Split(rows, ","), func(part string) bool { return strings.Contains(k.row, part) })
	})
}

// TestMatrix: each kind of fault strikes a cluster of its own so many times,
// and each time it comes to rest: everything runs once, as it was last asked
// for. A table tells what was seen.
func TestMatrix(t *testing.T) {
	seed := number(t, "SEED", uint64(time.Now().UnixNano())%1e6)
	rows := os.Getenv("ROWS")
	kinds := chosen(rows, seed)
	if rows != "none" && len(kinds) == 0 {
		t.Fatalf("ROWS=%s names no row", rows)
	}
	results := make([]*result, len(kinds))
	t.Run("rows", func(t *testing.T) {
		for i, k := range kinds {
			t.Run(k.row, func(t *testing.T) {
				t.Parallel()
				times := int(number(t, "TIMES", uint64(k.times)))
				t.Logf("ROWS=%q SEED=%d TIMES=%d", k.row, seed, times)
				results[i] = &result{row: k.row}
				k.run(t, times, seed, results[i])
			})
		}
	})
	if len(results) > 0 {
		keep(t, results...)
	}
}

// run deals the faults of one row.
func (k kind) run(t *testing.T, times int, seed uint64, r *result) {
	r.live = k.live
	s := newStage(t, k, seed, r)
	defer s.finish()
	for i := range times {
		s.rest("before fault " + strconv.Itoa(i+1))
		s.number = i
		s.strike(k)
		if t.Failed() {
			return
		}
		t.Logf("%s: fault %d of %d repaired", k.row, i+1, times)
	}
}

// strike is one fault from its beginning to its repair.
func (s *stage) strike(k kind) {
	s.t.Helper()
	before := s.containers()
	if k.busy {
		s.change()
		s.lasts(time.Duration(s.rand.Int64N(int64(1500 * time.Millisecond))))
	}
	began := time.Now()
	heal := k.inject(s)
	s.result.faults++
	if k.live {
		s.answered()
		s.rest("while the fault lasts")
	}
	if heal != nil {
		heal()
		if !k.live {
			began = time.Now()
		}
	}
	s.answered()
	s.rest("after the fault")
	s.result.repair = max(s.result.repair, time.Since(began))
	for _, n := range s.c.Nodes {
		s.checker.Cut(n.Name, false)
	}
	if k.still {
		after := s.containers()
		for r, id := range before {
			if after[r] != id && r.App() == quiet {
				s.t.Errorf("%s: %s ran as %.12s, and now as %.12s: nobody asked for that", k.row, r, id, after[r])
			}
		}
	}
}

// longest keeps a time of the row's own, the longest of its name.
func (s *stage) longest(name string, d time.Duration) {
	if s.result.longest == nil {
		s.result.longest = map[string]time.Duration{}
	}
	s.result.longest[name] = max(s.result.longest[name], d)
}
