package rule_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// stopping is what bob stopped while it ran; its copy is not gone.
func stopping() rule.Record {
	r := in(running(), placement.Done)
	r.By, r.Why, r.Home, r.Last, r.Left = "bob", "stopped by bob", "n1", nil, 0
	return r
}

// stopped is the same when the copy is gone.
func stopped() rule.Record { r := stopping(); r.Bound = nil; return r }

func startsAgain() rule.Record {
	r := stopping()
	r.Again, r.Why = true, "stopped by bob; starts again when its copy is gone"
	return r
}

// done ended by itself on n1.
func done() rule.Record {
	code := 3
	r := in(pending(), placement.Done)
	r.Epoch, r.Left, r.Exit, r.Why, r.Home = ep(5), 0, &code, "exit code 3", "n1"
	return r
}

// afresh is a record that waits again under epoch 9.
func afresh(home placement.NodeID, last *placement.Holder) rule.Record {
	r := pending()
	r.Epoch, r.Home, r.Last = ep(9), home, last
	return r
}

func TestStop(t *testing.T) {
	for _, c := range []struct {
		name string
		rec  rule.Record
		away bool
		want rule.Record
		same bool
	}{
		{name: "what runs is to leave, and is condemned", rec: running(), want: stopping()},
		{name: "what starts too", rec: bound(), want: stopping()},
		{name: "on a lost node nothing is waited for", rec: running(), away: true, want: stopped()},
		{
			name: "what waits rests at once", rec: pending(),
			want: with(pending(), func(r *rule.Record) { r.State, r.By, r.Why, r.Left = placement.Done, "bob", "stopped by bob", 0 }),
		},
		{
			name: "the copy that might be adopted has to leave", rec: lost(),
			want: with(stopping(), func(r *rule.Record) { r.Epoch = ep(6) }),
		},
		{
			name: "DEAD by its deadline with a copy on a silent node", rec: expired(),
			want: with(stopping(), func(r *rule.Record) { r.Epoch = ep(6) }),
		},
		{name: "twice is as once", rec: stopping(), same: true},
		{name: "and later too", rec: stopped(), same: true},
		{name: "a start in between is taken back", rec: startsAgain(), want: stopping()},
		{name: "what ended by itself stays so", rec: done(), same: true},
		{name: "what is removed stays so", rec: cancelled(), same: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			slot := rule.Slot{}
			if c.rec.Bound != nil {
				c.rec.Slot, slot = slotK, slot.With(id)
			}
			if c.same {
				c.want = c.rec
			} else if c.want.Bound != nil {
				c.want.Slot = c.rec.Slot
			}
			got, slot, changed := rule.Stop(c.rec, slot, "bob", func(placement.NodeID) bool { return c.away })
			if diff := cmp.Diff(c.want, got); diff != "" || changed == c.same {
				t.Errorf("changed %v (-want +got):\n%s", changed, diff)
			}
			if held := len(slot.Placements) == 1; held != (got.Slot != "") {
				t.Errorf("slot %v, the record holds %q", slot.Placements, got.Slot)
			}
		})
	}
}

func TestStartAndRetry(t *testing.T) {
	for _, c := range []struct {
		name         string
		rec          rule.Record
		start, retry rule.Record // zero: unchanged
	}{
		{name: "stopped", rec: stopped(), start: afresh("n1", nil), retry: afresh("", nil)},
		{name: "its copy is still there", rec: stopping(), start: startsAgain(), retry: with(startsAgain(), func(r *rule.Record) { r.Home = "" })},
		{name: "started again already", rec: startsAgain()},
		{name: "ended by itself", rec: done(), start: afresh("n1", nil)},
		{name: "DEAD", rec: expired(), start: afresh("", holder("n1", 5, 2, 10)), retry: afresh("", holder("n1", 5, 2, 10))},
		{name: "waits for its node", rec: afresh("n1", nil), retry: afresh("", nil)},
		{name: "waits", rec: pending()},
		{name: "runs", rec: running()},
		{name: "removed", rec: cancelled()},
	} {
		for name, f := range map[string]func(rule.Record, placement.Epoch) (rule.Record, bool){"start": rule.Start, "retry": rule.Retry} {
			t.Run(c.name+": "+name, func(t *testing.T) {
				want := c.start
				if name == "retry" {
					want = c.retry
				}
				same := want.ID == ""
				if same {
					want = c.rec
				}
				got, changed := f(c.rec, ep(9))
				if diff := cmp.Diff(want, got); diff != "" || changed == same {
					t.Errorf("changed %v (-want +got):\n%s", changed, diff)
				}
			})
		}
	}
}

// TestStoppedCopyLeaves: every proof that the copy is gone ends the wait, and
// nothing that is heard of it starts it again.
func TestStoppedCopyLeaves(t *testing.T) {
	proofs := map[string]func(rule.Record, rule.Slot) (rule.Record, rule.Slot, rule.Outcome){
		"absent": func(r rule.Record, s rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Absent(r, s, "n1", at(2, 11), ep(9))
		},
		"node lost": func(r rule.Record, s rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Lose(r, s, "n1", ep(9))
		},
		"rolled back, and not listed there": func(r rule.Record, s rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Unconfirmed(r, s, true, ep(9))
		},
	}
	for name, proof := range proofs {
		for _, again := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r, want := stopping(), stopped()
				if again {
					r, want = startsAgain(), afresh("n1", nil)
				}
				r.Slot = slotK
				got, slot, outcome := proof(r, rule.Slot{}.With(id))
				if diff := cmp.Diff(want, got); diff != "" || outcome != rule.Rest || len(slot.Placements) != 0 {
					t.Errorf("outcome %v, slot %v (-want +got):\n%s", outcome, slot.Placements, diff)
				}
			})
		}
	}
	if r, _, outcome := rule.Absent(stopping(), rule.Slot{}, "n1", at(2, 9), ep(9)); outcome != rule.Nothing || r.Bound == nil {
		t.Errorf("an older listing proves %v", outcome)
	}
	if r, _, outcome := rule.Unconfirmed(stopping(), rule.Slot{}, false, ep(9)); outcome != rule.Nothing || r.Bound == nil {
		t.Errorf("a node that was not heard proves %v", outcome)
	}
	if r, _, outcome := rule.Failed(stopping(), rule.Slot{}, placement.Failed{Node: "n1", Epoch: ep(5), At: at(2, 12)}, ep(9)); outcome != rule.Nothing || r.State != placement.Done {
		t.Errorf("a start that failed after the stop comes to %v, %s", outcome, r.State)
	}
	code := 137
	ended := ask("n1", 5, 2, 12)
	ended.Exit = &code
	for name, b := range map[string]placement.Bind{"a bind": ask("n1", 5, 2, 12), "an exit": ended, "an offer of old": ask("n2", 6, 2, 12)} {
		r, _, a := rule.Exit(stopping(), rule.Slot{}, slotK, placement.NodeRecord{Node: b.Node}, orBind(b), ep(9), 0)
		if diff := cmp.Diff(stopping(), r); diff != "" || a.Verdict != placement.VerdictNo {
			t.Errorf("%s: %s (-want +got):\n%s", name, a.Verdict, diff)
		}
	}
	if _, _, ok := rule.Reclaim(stopped(), rule.Slot{}, "", *holder("n1", 5, 2, 11)); ok {
		t.Error("a stopped copy is taken in again after a rollback")
	}
}

// orBind makes a plain bind pass through Exit, which hands it on.
func orBind(b placement.Bind) placement.Bind {
	if b.Exit == nil {
		b.Exit = new(int)
	}
	return b
}

func TestStoppedCopyIsSeen(t *testing.T) {
	trust := rule.Trust{At: new(at(2, 12)), Orders: true, Adopt: true}
	for _, c := range []struct {
		name  string
		rec   rule.Record
		node  placement.NodeID
		epoch uint32
		state placement.CopyState
		stop  string
	}{
		{"the bound copy runs", stopping(), "n1", 5, placement.CopyRunning, "stopped by bob"},
		{"the bound copy has ended", stopping(), "n1", 5, placement.CopyExited, "stopped by bob"},
		{"the bound copy was only created", stopping(), "n1", 5, placement.CopyCreated, "stopped by bob"},
		{"one that is to start again goes first", startsAgain(), "n1", 5, placement.CopyRunning, "stopped by bob; starts again when its copy is gone"},
		{"one that returns with its lost node", stopped(), "n1", 5, placement.CopyRunning, "stopped by bob"},
		{"or returns ended", stopped(), "n1", 5, placement.CopyExited, "stopped by bob"},
		{"an older one elsewhere", stopping(), "n2", 4, placement.CopyRunning, "stopped by bob"},
		{"what ended by itself is kept", done(), "n1", 5, placement.CopyExited, ""},
		{"until it is started again", afresh("n1", nil), "n1", 5, placement.CopyExited, "another copy took its place"},
		{"after a stop and a start nothing older is adopted", afresh("n1", nil), "n1", 5, placement.CopyRunning, "another copy took its place"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, sight := rule.Seen(c.rec, rule.Slot{}, "", c.node, placement.Copy{ID: id, Epoch: ep(c.epoch), State: c.state}, trust)
			if diff := cmp.Diff(c.rec, got); diff != "" || sight.Stop != c.stop || sight.Running || sight.Changed {
				t.Errorf("sight %+v (-want +got):\n%s", sight, diff)
			}
			_, _, held := rule.Seen(c.rec, rule.Slot{}, "", c.node, placement.Copy{ID: id, Epoch: ep(c.epoch), State: c.state}, rule.Trust{})
			if held.Stop != "" {
				t.Errorf("stopped while the ledger holds: %+v", held)
			}
		})
	}
}

func TestDestroyedStaysAway(t *testing.T) {
	app := rule.App{Owner: "alice", Name: "shop", Wish: placement.App{Services: []placement.Service{{Name: "web", Replicas: 2}}}}
	const one, two = placement.Replica("alice/shop/web/1"), placement.Replica("alice/shop/web/2")
	rec := running()
	have := []rule.Standing{{Replica: rule.Replica{Replica: one, Lives: []placement.Life{id.Life()}, Wanted: id.Life()}, Wanted: &rec}}
	step, ok := rule.Destroy(have[0], "bob", "d")
	if !ok || !step.Cancel || step.Ended == nil || step.Ended.By != "bob" || step.Begin {
		t.Fatalf("step %+v, %v", step, ok)
	}
	have[0].Wanted, have[0].Replica.Wanted, have[0].Replica.Ended = nil, "", step.Ended
	if _, twice := rule.Destroy(have[0], "eve", "d"); twice {
		t.Error("destroyed twice")
	}
	steps, _ := rule.Rollout(app, []string{"d"}, have)
	if len(steps) != 1 || steps[0].Replica != two {
		t.Errorf("the same request brings it back: %+v", steps)
	}
	added, _, _ := rule.Diff(app, []string{"d"}, have)
	if gone := rule.Destroyed(app, []string{"d"}, have); len(added) != 1 || len(gone) != 1 || gone[0] != one {
		t.Errorf("added %v, destroyed %v", added, gone)
	}
	if steps, _ = rule.Rollout(app, []string{"e"}, have); len(steps) != 2 || !steps[0].Begin || steps[0].Replica != one {
		t.Errorf("a changed request does not bring it back: %+v", steps)
	}
	if step, ok = rule.Revive(have[0], 0, "d"); !ok || !step.Begin {
		t.Errorf("revive: %+v, %v", step, ok)
	}
	if back := have[0].Replica.With("k"); back.Ended != nil || back.Wanted != "k" {
		t.Errorf("revived: %+v", back)
	}
	app.Removed = true
	steps, done := rule.Rollout(app, nil, have)
	if len(steps) != 1 || !steps[0].Lift || steps[0].Cancel || !done {
		t.Errorf("rm does not lift the mark: %+v", steps)
	}
	if empty := have[0].Replica.Without(id.Life()); empty.Empty() {
		t.Error("the mark goes with the last life")
	}
}
