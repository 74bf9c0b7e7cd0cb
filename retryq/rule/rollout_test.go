package rule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// standing is replica n of alice/shop/web.
func standing(n int, state placement.State, digest string, gates bool) rule.Standing {
	name := placement.NewReplica("alice", "shop", "web", n)
	life := placement.Life(fmt.Sprintf("%020x", n))
	r := &rule.Record{ID: name.Placement(life), State: state, Digest: digest, Gates: gates}
	return rule.Standing{Replica: rule.Replica{Replica: name, Lives: []placement.Life{life}, Wanted: life}, Wanted: r}
}

// moves is a replica whose node is drained.
func moves(n int, state placement.State) rule.Standing {
	s := standing(n, state, "new", false)
	s.Moves = true
	return s
}

func TestRollout(t *testing.T) {
	pending, run, dead, done := placement.Pending, placement.Running, placement.Dead, placement.Done
	for _, c := range []struct {
		name     string
		replicas int
		removed  bool
		have     []rule.Standing
		want     []string
		done     bool
	}{
		{"new replicas at once", 3, false, nil, []string{"begin 1", "begin 2", "begin 3"}, true},
		{"nothing to do", 2, false, []rule.Standing{standing(1, run, "new", false), standing(2, pending, "new", false)}, nil, true},
		{"scale up", 2, false, []rule.Standing{standing(1, run, "new", false)}, []string{"begin 2"}, true},
		{"scale down", 1, false, []rule.Standing{standing(1, run, "new", false), standing(2, run, "new", false)}, []string{"cancel 2"}, true},
		{"removed", 2, true, []rule.Standing{standing(2, run, "new", false), standing(1, run, "new", false)}, []string{"cancel 1", "cancel 2"}, true},
		{"a life that is cancelled already", 0, false, []rule.Standing{{Replica: rule.Replica{Replica: "alice/shop/web/1", Lives: []placement.Life{"x"}}}}, nil, true},
		{
			"a changed one is replaced, one at a time", 3, false,
			[]rule.Standing{standing(1, run, "old", false), standing(2, run, "old", false), standing(3, run, "old", false)},
			[]string{"replace 1 gates"},
			false,
		},
		{"the next waits for the one before", 3, false, []rule.Standing{standing(1, pending, "new", true), standing(2, run, "old", false), standing(3, run, "old", false)}, nil, false},
		{
			"the next follows when that one ran", 3, false,
			[]rule.Standing{standing(1, run, "new", false), standing(2, run, "old", false), standing(3, run, "old", false)},
			[]string{"replace 2 gates"},
			false,
		},
		{"the last one is not done before it ran", 2, false, []rule.Standing{standing(1, run, "new", false), standing(2, placement.Bound, "new", true)}, nil, false},
		{
			"one that waits is replaced at once, and holds nobody up", 3, false,
			[]rule.Standing{standing(1, run, "old", false), standing(2, pending, "old", false), standing(3, dead, "old", false)},
			[]string{"replace 2", "replace 3", "replace 1 gates"},
			false,
		},
		{
			"a broken replacement is replaced at once, and still holds up the rest", 2, false,
			[]rule.Standing{standing(1, pending, "broken", true), standing(2, run, "old", false)},
			[]string{"replace 1 gates"},
			false,
		},
		{"a DEAD replacement holds up the rest", 2, false, []rule.Standing{standing(1, dead, "new", true), standing(2, run, "old", false)}, nil, false},
		{"a DONE replacement does not", 2, false, []rule.Standing{standing(1, done, "new", true), standing(2, run, "old", false)}, []string{"replace 2 gates"}, false},
		{"one that waits for room is no reason to wait", 2, false, []rule.Standing{standing(1, run, "old", false), standing(2, pending, "new", false)}, []string{"replace 1 gates"}, false},
		{"all of a drained node move, one at a time", 3, false, []rule.Standing{moves(1, run), moves(2, run), standing(3, run, "new", false)}, []string{"replace 1 gates"}, false},
		{"the next moves when that one ran", 3, false, []rule.Standing{standing(1, pending, "new", true), moves(2, run), standing(3, run, "new", false)}, nil, false},
		{"what waits, or is done, need not move", 2, false, []rule.Standing{moves(1, pending), moves(2, done)}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := rule.App{Owner: "alice", Name: "shop", Removed: c.removed, Wish: placement.App{Services: []placement.Service{{Name: "web", Replicas: c.replicas}}}}
			steps, done := rule.Rollout(app, []string{"new"}, c.have)
			var got []string
			for _, s := range steps {
				word := "begin"
				if s.Cancel {
					word = "cancel"
				}
				if s.Cancel && s.Begin {
					word = "replace"
				}
				word += fmt.Sprint(" ", s.Replica.Number())
				if s.Gates {
					word += " gates"
				}
				got = append(got, word)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps (-want +got): %s", diff)
			}
			if done != c.done {
				t.Errorf("done is %v", done)
			}
		})
	}
}

func TestRolledBack(t *testing.T) {
	s := func(term uint32, random uint16) placement.Start { return placement.NewStart(term, random) }
	meta := rule.Meta{Gen: 2, Starts: []rule.StartAt{{Start: s(3, 1), First: 10}, {Start: s(4, 2), First: 20}, {Start: s(5, 3), First: 30}}}
	for _, c := range []struct {
		name  string
		shown placement.Mark
		want  bool
	}{
		{"nothing was seen", placement.Mark{}, false},
		{"the present", placement.Mark{Gen: 2, Start: s(5, 3), Rev: 40}, false},
		{"the future of the present start", placement.Mark{Gen: 2, Start: s(5, 3), Rev: 41}, true},
		{"the past", placement.Mark{Gen: 2, Start: s(4, 2), Rev: 29}, false},
		{"beyond the end of a past start", placement.Mark{Gen: 2, Start: s(4, 2), Rev: 30}, true},
		{"V2: terms coincide, starts do not", placement.Mark{Gen: 2, Start: s(5, 9), Rev: 35}, true},
		{"a start never made", placement.Mark{Gen: 2, Start: s(6, 1), Rev: 1}, true},
		{"a start too old to be judged", placement.Mark{Gen: 2, Start: s(2, 1), Rev: 99}, false},
		{"a later generation", placement.Mark{Gen: 3, Start: s(5, 3), Rev: 1}, true},
		{"a lost history that is known by now", placement.Mark{Gen: 1, Start: s(5, 9), Rev: 99}, false},
		{"a lost history whose epochs are above ours", placement.Mark{Gen: 1, Start: s(6, 9), Rev: 99}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why, got := meta.RolledBack(40, c.shown); got != c.want || got && why == "" {
				t.Errorf("rolled back is %v (%s)", got, why)
			}
		})
	}
	next := meta.Begin(7, 41, true, placement.Mark{Gen: 5, Start: s(9, 9), Rev: 1})
	if next.Gen != 6 || next.Start().Term() != 10 || !next.Hold || len(meta.Starts) != 3 {
		t.Errorf("the start after a rollback: %+v", next)
	}
	if again := next.Begin(8, 50, false, placement.Mark{}); again.Gen != 6 || !again.Hold || again.Start() != s(11, 8) {
		t.Errorf("V4: a restart ends the hold: %+v", again)
	}
	for i := range 5000 {
		next = next.Begin(1, uint64(60+i), false, placement.Mark{})
	}
	if len(next.Starts) != 4096 {
		t.Errorf("%d starts are kept", len(next.Starts))
	}
}

func TestBackoff(t *testing.T) {
	for try, want := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		if got := rule.Backoff(try, 0.5); got != want {
			t.Errorf("try %d: %s, want %s", try, got, want)
		}
	}
	if low, high := rule.Backoff(1000, 0), rule.Backoff(1000, 0.9999); low != 15*time.Second || high > 45*time.Second {
		t.Errorf("from %s to %s", low, high)
	}
}

func TestSumUp(t *testing.T) {
	mem := placement.Reason{Code: placement.ReasonMemory, Need: "2 GiB", Have: "1 GiB"}
	token := placement.Reason{Code: placement.ReasonHAToken, Need: "web", Have: "held by alice/shop/web/1"}
	var o placement.Outcome
	for i := range 5 {
		o.Passes = append(o.Passes, placement.Pass{Node: placement.NodeID(fmt.Sprint("n", i)), Reason: mem})
	}
	o.Passes = append(o.Passes, placement.Pass{Node: "n9", Reason: token})
	o.Ignored = map[string]int{placement.ReasonDraining: 2}
	got := rule.SumUp(o)
	want := []placement.Refusal{
		{Reason: mem, Nodes: 5, Names: []placement.NodeID{"n0", "n1", "n2"}},
		{Reason: placement.Reason{Code: placement.ReasonDraining, Text: "not asked"}, Nodes: 2},
		{Reason: token, Nodes: 1, Names: []placement.NodeID{"n9"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	near := placement.Reason{Code: placement.ReasonMemory, Need: "2 GiB", Have: "1.9 GiB", Short: 1}
	far := placement.Reason{Code: placement.ReasonMemory, Need: "2 GiB", Have: "0.1 GiB", Short: 19}
	for _, order := range [][]placement.Reason{{near, far}, {far, near}} {
		sum := rule.SumUp(placement.Outcome{Passes: []placement.Pass{{Node: "n1", Reason: order[0]}, {Node: "n2", Reason: order[1]}}})
		if len(sum) != 1 || sum[0].Reason != near || sum[0].Nodes != 2 {
			t.Errorf("the closest is not told: %+v", sum)
		}
	}
	if why := rule.Tell(got[2:]); why != "1 of 1 node: ha_token web held by alice/shop/web/1" {
		t.Error(why)
	}
	if rule.OnlyLocks(o) || !rule.OnlyLocks(placement.Outcome{Asked: 1, Passes: []placement.Pass{{Reason: placement.Reason{Code: placement.ReasonLock}}}}) {
		t.Error("locks")
	}
}
