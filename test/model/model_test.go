package model_test

import (
	"cmp"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"longshore/test/model"
)

// TestProtocolHolds looks at MODEL_STATES states of the protocol as it is, half
// a million without it, shared out over the configurations: what a small one
// leaves, those after it get. None may break an invariant, and from none of the
// sampled ones may the cluster fail to come to what is wished.
func TestProtocolHolds(t *testing.T) {
	left, err := strconv.Atoi(cmp.Or(os.Getenv("MODEL_STATES"), "500000"))
	if err != nil || left <= 0 {
		t.Fatalf("MODEL_STATES is %q: it is a number of states", os.Getenv("MODEL_STATES"))
	}
	configs := model.Configs()
	states, steps, complete, began := 0, 0, 0, time.Now()
	for i, cfg := range configs {
		share := left / (len(configs) - i)
		r := model.Search(cfg, nil, model.Limits{States: share, Samples: 100})
		states, steps, left = states+r.States, steps+r.Steps, max(1, left-r.States)
		what := "cut"
		if r.Complete {
			what = "complete"
			complete++
		}
		t.Logf("%-30s %9d states %10d steps depth %2d %-8s %6.1fs", cfg.Name, r.States, r.Steps, r.Depth, what, r.Took.Seconds())
		if r.Broken != "" {
			t.Errorf("%s: %s\n%s", cfg.Name, r.Broken, strings.Join(r.Story, "\n"))
		}
		for n, s := range r.Samples {
			if why := model.Walk(cfg, nil, s, 5000, rand.New(rand.NewPCG(1, uint64(n)))); why != "" {
				t.Errorf("%s: from sample %d it is not repaired: %s", cfg.Name, n, why)
				break
			}
		}
	}
	t.Logf("all: %d states, %d steps, %d of %d configurations complete, %.0fs", states, steps, complete, len(configs), time.Since(began).Seconds())
}
