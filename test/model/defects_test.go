package model_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"longshore/test/model"
)

// TestDefectsAreSeen: a checker that finds nothing in a broken protocol is
// itself broken.
func TestDefectsAreSeen(t *testing.T) {
	for _, d := range model.Defects() {
		t.Run(d.Name, func(t *testing.T) {
			limits := model.Limits{States: 3_000_000, Time: 2 * time.Minute}
			if d.Repair {
				limits.States, limits.Samples = 20_000, 5_000
			}
			r := model.Search(d.Config, d.Breaks, limits)
			if r.Broken != "" {
				if plain := model.Search(d.Config, nil, model.Limits{States: r.States}); plain.Broken != "" {
					t.Fatalf("it breaks without the defect too: %s\n%s", plain.Broken, strings.Join(plain.Story, "\n"))
				}
				t.Logf("%d states, %d steps, %s: %s", r.States, len(r.Story)-1, r.Took.Round(time.Millisecond), r.Broken)
				return
			}
			for i, s := range r.Samples {
				if why := model.Walk(d.Config, d.Breaks, s, 3000, rand.New(rand.NewPCG(1, uint64(i)))); why != "" {
					why, _, _ = strings.Cut(why, "\n")
					t.Logf("%d states, not repaired: %s", r.States, why)
					return
				}
			}
			t.Errorf("%q was removed, and nothing broke in %d states (all: %v) of depth %d, %s", d.Why, r.States, r.Complete, r.Depth, r.Took)
		})
	}
}
