package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"longshore/internal/trace"
	"longshore/test/cluster"
)

// traced is a line of `schedctl trace --json`.
type traced struct {
	Depth int   `json:"depth"`
	At    int64 `json:"at_us"`
	trace.Span
}

func (s traced) end() int64 { return s.At + s.Took }

// TestTrace: one submit is one trace over schedctl, broadcaster and agents,
// real processes without a collector, and its steps add up.
func TestTrace(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.PushHello("ann", "hello:latest")
	file := c.File("site.yaml", "name: site\nservices:"+service("web", 1, 9100, "", "traced"))
	began := time.Now()
	c.Must("submit", file, "--owner", "ann", "--timeout", "90s")
	took := time.Since(began)

	out := c.Must("trace", "ann/site/web/1", "--json")
	var steps []traced
	for line := range strings.Lines(out) {
		var s traced
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		steps = append(steps, s)
	}
	// Each stands below the one before it, or beside it.
	var place traced
	for _, path := range [][]string{
		{"schedctl submit", "schedctl submit", "broadcaster submit", "broadcaster resolve images"},
		{"schedctl submit", "schedctl submit", "broadcaster submit", "broadcaster store"},
		{"broadcaster submit", "broadcaster wait"},
		{"broadcaster submit", "broadcaster look for a node", "broadcaster round", "broadcaster offer", "agent offer", "agent admit"},
		{"agent offer", "agent claim"},
		{"agent offer", "agent place", "agent daemon"},
		{"agent place", "agent pull"},
		{"agent place", "agent create"},
		{"agent place", "agent ports"},
		{"agent place", "agent bind", "broadcaster bind"},
		{"agent place", "agent start"},
		{"broadcaster submit", "broadcaster until seen running"},
		{"schedctl submit", "schedctl watch until it runs"},
	} {
		if !below(steps, path) {
			t.Errorf("the trace has no %s", strings.Join(path, " > "))
		}
	}
	var last, sum int64
	for _, s := range steps {
		if s.Trace != steps[0].Trace || s.Running {
			t.Errorf("%s is of trace %s, and runs: %v", s.Name, s.Trace, s.Running)
		}
		switch {
		case s.Name == "place":
			place = s
		case place.ID != "" && s.Parent == place.ID && s.Name != "store request":
			if s.At < last {
				t.Errorf("%s begins at %d µs, before what goes before it ends: %d µs", s.Name, s.At, last)
			}
			last, sum = s.end(), sum+s.Took
		}
	}
	if sum > place.Took || sum < place.Took*8/10 {
		t.Errorf("the steps of place take %d of its %d µs", sum, place.Took)
	}
	root := steps[0]
	if root.Name != "submit" || root.Took > took.Microseconds() || place.end() > root.end() || place.Took < root.Took/2 {
		t.Errorf("submit took %d µs, as people see it %v, and placing %d to %d µs", root.Took, took, place.At, place.end())
	}
	t.Logf("\n%s", c.Must("trace", "ann/site/web/1"))
}

// below tells whether there is such a path downwards, each step named by the
// first word of its process and its name.
func below(steps []traced, path []string) bool {
	parents := map[string]bool{}
	for i, want := range path {
		found := map[string]bool{}
		for _, s := range steps {
			part, _, _ := strings.Cut(s.Part, " ")
			if part+" "+s.Name == want && (i == 0 || parents[s.Parent]) {
				found[s.ID] = true
			}
		}
		parents = found
	}
	return len(parents) > 0
}
