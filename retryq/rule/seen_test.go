package rule_test

import (
	"testing"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

func copyAt(epoch uint32, s placement.CopyState) placement.Copy {
	return placement.Copy{ID: id, Epoch: ep(epoch), State: s}
}

func TestSeen(t *testing.T) {
	run, exited, created, gone := placement.CopyRunning, placement.CopyExited, placement.CopyCreated, placement.CopyGone
	op := func(session, op uint64) *placement.SessionOp { a := at(session, op); return &a }
	adopted := func(session, op uint64) func(*rule.Record) {
		return func(r *rule.Record) {
			r.State, r.Left, r.Why = placement.Running, 0, ""
			r.Bound, r.Last = holder("n1", 5, session, op), holder("n1", 5, session, op)
		}
	}
	condemned := func(r *rule.Record) { r.Last = nil }
	for _, c := range []struct {
		name  string
		rec   rule.Record
		node  placement.NodeID
		copy  placement.Copy
		at    *placement.SessionOp
		held  bool // the ledger holds after an ordinary start
		taken bool // the HA slot is another replica's
		want  func(*rule.Record)
		run   bool
		ended bool
		stop  bool
	}{
		{name: "running where it is bound", rec: bound(), copy: copyAt(5, run), at: op(2, 10), run: true},
		{name: "running where it is bound needs no op", rec: bound(), copy: copyAt(5, run), run: true},
		{name: "running while held", rec: bound(), copy: copyAt(5, run), at: op(2, 10), held: true, run: true},
		{name: "running elsewhere is stopped", rec: bound(), node: "n2", copy: copyAt(5, run), at: op(2, 10), stop: true},
		{name: "running at an older epoch is stopped", rec: bound(), copy: copyAt(4, run), at: op(2, 10), stop: true},
		{name: "nothing is stopped while held", rec: bound(), node: "n2", copy: copyAt(5, run), at: op(2, 10), held: true},
		{name: "running at an epoch never bound is stopped", rec: pending(), copy: copyAt(6, run), at: op(2, 10), stop: true},

		{name: "last is adopted, with the report's op", rec: lost(), copy: copyAt(5, run), at: op(2, 12), want: adopted(2, 12), run: true},
		{name: "last is adopted with an equal op", rec: lost(), copy: copyAt(5, run), at: op(2, 10), want: adopted(2, 10), run: true},
		{name: "last is adopted while held", rec: lost(), copy: copyAt(5, run), at: op(3, 0), held: true, want: adopted(3, 0), run: true},
		{name: "a report with an older op adopts nothing and stops nothing", rec: lost(), copy: copyAt(5, run), at: op(2, 9)},
		{name: "a report without op adopts nothing and stops nothing", rec: lost(), copy: copyAt(5, run)},
		{name: "adoption checks the HA slot; without it: stop, condemned", rec: lost(), copy: copyAt(5, run), at: op(2, 12), taken: true, want: condemned, stop: true},
		{name: "while held nothing is condemned", rec: lost(), copy: copyAt(5, run), at: op(2, 12), held: true, taken: true},
		{
			name: "adopted, it no longer gates the rollout", rec: with(lost(), func(r *rule.Record) { r.Gates = true }), copy: copyAt(5, run), at: op(2, 12), run: true,
			want: func(r *rule.Record) { adopted(2, 12)(r); r.Gates = false },
		},
		{name: "V10: DEAD with a copy that returns is adopted", rec: in(lost(), placement.Dead), copy: copyAt(5, run), at: op(2, 12), want: adopted(2, 12), run: true},
		{name: "DEAD by its deadline is stopped, and condemned", rec: expired(), copy: copyAt(5, run), at: op(2, 12), want: condemned, stop: true},
		{name: "DONE and running by itself is stopped", rec: in(pending(), placement.Done), copy: copyAt(5, run), at: op(2, 12), stop: true},

		{name: "exited where it is bound: its agent will ask", rec: running(), copy: copyAt(5, exited), at: op(2, 10), ended: true},
		{name: "exited, last: its agent will ask", rec: lost(), copy: copyAt(5, exited), at: op(2, 12)},
		{name: "exited, DONE: kept", rec: in(pending(), placement.Done), copy: copyAt(5, exited), at: op(2, 12)},
		{name: "exited at an epoch that nothing can bind: removed", rec: pending(), copy: copyAt(4, exited), at: op(2, 12), stop: true},
		{name: "exited elsewhere at the record's epoch: its agent will ask", rec: pending(), copy: copyAt(6, exited), at: op(2, 12)},

		{name: "created is neither absent nor running", rec: bound(), copy: copyAt(5, created), at: op(2, 10)},
		{name: "created under an old epoch: its agent will ask", rec: bound(), node: "n2", copy: copyAt(4, created), at: op(2, 10)},
		{name: "gone proves nothing", rec: bound(), copy: copyAt(5, gone), at: op(2, 99)},

		{name: "CANCELLED and running is stopped", rec: cancelled(), copy: copyAt(5, run), at: op(2, 10), stop: true},
		{name: "CANCELLED and exited is removed", rec: cancelled(), copy: copyAt(5, exited), at: op(2, 10), stop: true},
		{name: "CANCELLED and created is removed", rec: cancelled(), copy: copyAt(5, created), at: op(2, 10), stop: true},
		{name: "CANCELLED while held is left", rec: cancelled(), copy: copyAt(5, run), at: op(2, 10), held: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.node == "" {
				c.node = "n1"
			}
			key, slot := "", rule.Slot{}
			if c.taken {
				key, slot = slotK, slot.With(other)
			}
			got, _, s := rule.Seen(c.rec, slot, key, c.node, c.copy, rule.Trust{At: c.at, Orders: !c.held, Adopt: true})
			check(t, c.rec, got, c.want, s.Changed)
			if s.Running != c.run || s.Ended != c.ended || (s.Stop != "") != c.stop {
				t.Errorf("running %v, ended %v, stop %q; want %v, %v, %v", s.Running, s.Ended, s.Stop, c.run, c.ended, c.stop)
			}
		})
	}
	t.Run("after a rollback nothing is adopted before the hold ends", func(t *testing.T) {
		a := at(3, 0)
		if _, _, s := rule.Seen(lost(), rule.Slot{}, "", "n1", copyAt(5, placement.CopyRunning), rule.Trust{At: &a}); s.Changed || s.Stop != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestLost(t *testing.T) {
	back := func(keep bool) func(*rule.Record) {
		return func(r *rule.Record) {
			r.State, r.Epoch, r.Bound, r.Slot = placement.Pending, ep(9), nil, ""
			if !keep {
				r.Last = nil
			}
		}
	}
	released := func(r *rule.Record) { r.Bound, r.Slot = nil, "" }
	absent := func(node placement.NodeID, a placement.SessionOp) func(rule.Record, rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
		return func(r rule.Record, s rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Absent(r, s, node, a, ep(9))
		}
	}
	lose := func(node placement.NodeID) func(rule.Record, rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
		return func(r rule.Record, s rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Lose(r, s, node, ep(9))
		}
	}
	failed := func(node placement.NodeID, epoch uint32, a placement.SessionOp) func(rule.Record, rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
		return func(r rule.Record, s rule.Slot) (rule.Record, rule.Slot, rule.Outcome) {
			return rule.Failed(r, s, placement.Failed{Node: node, Epoch: ep(epoch), At: a}, ep(9))
		}
	}
	for _, c := range []struct {
		name  string
		rec   rule.Record
		apply func(rule.Record, rule.Slot) (rule.Record, rule.Slot, rule.Outcome)
		want  func(*rule.Record)
		out   rule.Outcome
	}{
		{"absent with an op not older: back, nothing left to adopt", running(), absent("n1", at(2, 10)), back(false), rule.Back},
		{"absent from a start that was not seen", bound(), absent("n1", at(2, 11)), back(false), rule.Back},
		{"V5: absent with an older op proves nothing", running(), absent("n1", at(2, 9)), nil, rule.Nothing},
		{"V5: absent under an older session proves nothing", running(), absent("n1", at(1, 99)), nil, rule.Nothing},
		{"absent from another node proves nothing", running(), absent("n2", at(2, 99)), nil, rule.Nothing},
		{"CANCELLED and absent is gone", cancelled(), absent("n1", at(2, 10)), released, rule.Gone},
		{"CANCELLED and absent with an older op is not gone", cancelled(), absent("n1", at(2, 9)), nil, rule.Nothing},
		{"absent, but not bound", lost(), absent("n1", at(2, 99)), nil, rule.Nothing},

		{"silence: back, what may be adopted is kept", running(), lose("n1"), back(true), rule.Back},
		{"silence of another node", running(), lose("n2"), nil, rule.Nothing},
		{"V7: silence does not revive what was removed", cancelled(), lose("n1"), released, rule.Gone},

		{"failed at the bound epoch: back", bound(), failed("n1", 5, at(2, 11)), back(false), rule.Back},
		{"failed with an equal op counts", bound(), failed("n1", 5, at(2, 10)), back(false), rule.Back},
		{"V9: failed, overtaken by a newer bind, is dropped", bound(), failed("n1", 5, at(2, 9)), nil, rule.Nothing},
		{"failed on another node is dropped", bound(), failed("n2", 5, at(2, 99)), nil, rule.Nothing},
		{"failed at another epoch is dropped", bound(), failed("n1", 4, at(2, 99)), nil, rule.Nothing},
		{"failed after rm waits for the proof", cancelled(), failed("n1", 5, at(2, 99)), nil, rule.Nothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec, slot := c.rec, rule.Slot{}
			if rec.Bound != nil {
				rec.Slot, slot = slotK, slot.With(id)
			}
			got, slot, out := c.apply(rec, slot)
			check(t, rec, got, c.want, out != rule.Nothing)
			if out != c.out {
				t.Errorf("outcome %d, want %d", out, c.out)
			}
			if (got.Slot == "") != (len(slot.Placements) == 0) {
				t.Errorf("record says %q, slot %v", got.Slot, slot.Placements)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	here := func(placement.NodeID) bool { return false }
	away := func(placement.NodeID) bool { return true }
	end := func(r *rule.Record) { r.State, r.Why, r.Left = placement.Cancelled, "removed", 0 }
	for _, c := range []struct {
		name string
		rec  rule.Record
		away func(placement.NodeID) bool
		want func(*rule.Record)
		out  rule.Outcome
	}{
		{"never bound: gone at once", pending(), here, end, rule.Gone},
		{"bound: stays until its copy is gone", running(), here, end, rule.Back},
		{"V7: bound on a lost node: gone at once", running(), away, func(r *rule.Record) { end(r); r.Bound = nil }, rule.Gone},
		{"given up on a late start: its copy may run, so it stays", lost(), here, func(r *rule.Record) { end(r); r.Bound = r.Last }, rule.Back},
		{"given up on a lost node: gone at once", lost(), away, end, rule.Gone},
		{"DEAD with a copy somewhere: stays", in(lost(), placement.Dead), here, func(r *rule.Record) { end(r); r.Bound = r.Last }, rule.Back},
		{"DONE: gone at once", in(pending(), placement.Done), here, end, rule.Gone},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, out := rule.Cancel(c.rec, rule.Slot{}, "removed", c.away)
			check(t, c.rec, got, c.want, true)
			if out != c.out {
				t.Errorf("outcome %d, want %d", out, c.out)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	if r, ok := rule.Expire(pending(), "late"); !ok || r.State != placement.Dead || !r.Expired || r.Left != 0 {
		t.Errorf("a deadline: %+v", r)
	}
	if _, ok := rule.Expire(bound(), "late"); ok {
		t.Error("a deadline ends what is starting")
	}
	if r, ok := rule.Retry(expired(), ep(9)); !ok || r.State != placement.Pending || r.Epoch != ep(9) || r.Expired || r.Left != r.Within || r.Why != "" {
		t.Errorf("retry: %+v", r)
	}
	if _, ok := rule.Retry(running(), ep(9)); ok {
		t.Error("retry touches what runs")
	}
	if r, ok := rule.Die(pending(), "no such image"); !ok || r.State != placement.Dead || r.Expired || r.Why == "" {
		t.Errorf("die: %+v", r)
	}
	if r, ok := rule.Renew(pending(), ep(9)); !ok || r.Epoch != ep(9) {
		t.Errorf("renew: %+v", r)
	}
	if _, ok := rule.Renew(running(), ep(9)); ok {
		t.Error("a new start renews what is bound")
	}
}

func TestUnconfirmedAndReclaim(t *testing.T) {
	rec := running()
	rec.Slot = slotK
	got, slot, out := rule.Unconfirmed(rec, rule.Slot{}.With(id), false, ep(9))
	if out != rule.Back || got.State != placement.Pending || got.Last == nil || len(slot.Placements) != 0 {
		t.Errorf("not listed: %+v, %v", got, out)
	}
	if got, _, _ = rule.Unconfirmed(rec, rule.Slot{}.With(id), true, ep(9)); got.Last != nil {
		t.Error("a copy that a listing does not show may be adopted")
	}
	h := *holder("n2", 8, 4, 1)
	if got, slot, ok := rule.Reclaim(got, rule.Slot{}, slotK, h); !ok || got.State != placement.Running || *got.Bound != h || *got.Last != h || got.Slot != slotK || len(slot.Placements) != 1 {
		t.Errorf("reclaim: %+v", got)
	}
	if _, _, ok := rule.Reclaim(got, rule.Slot{}.With(other), slotK, h); ok {
		t.Error("V11: two of a token in one domain")
	}
	if _, _, ok := rule.Reclaim(cancelled(), rule.Slot{}, "", h); ok {
		t.Error("what was removed is adopted")
	}
}
