package rule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

const (
	id    = placement.ID("alice/shop/web/1.00000000000100000001")
	other = placement.ID("alice/shop/web/2.00000000000100000002")
	slotK = "h/alice/web/node=n1"
)

var start = placement.NewStart(1, 7)

func ep(n uint32) placement.Epoch { return start.Epoch(n) }

func at(session, op uint64) placement.SessionOp {
	return placement.SessionOp{Session: session, Op: op}
}

func holder(node placement.NodeID, n uint32, session, op uint64) *placement.Holder {
	return &placement.Holder{Node: node, Epoch: ep(n), At: at(session, op)}
}

// The records that tables begin with; epochs: 5 is bound or last, 6 the next.
func pending() rule.Record {
	return rule.Record{V: 1, ID: id, State: placement.Pending, Epoch: ep(6), Digest: "d", Left: 1000, Within: 1000}
}

func lost() rule.Record { r := pending(); r.Last = holder("n1", 5, 2, 10); return r }

func bound() rule.Record {
	r := pending()
	r.State, r.Epoch, r.Bound, r.Last = placement.Bound, ep(5), holder("n1", 5, 2, 10), holder("n1", 5, 2, 10)
	return r
}

func running() rule.Record { r := bound(); r.State = placement.Running; return r }

func in(r rule.Record, s placement.State) rule.Record { r.State = s; return r }

func cancelled() rule.Record { return in(bound(), placement.Cancelled) }

func expired() rule.Record { r := in(lost(), placement.Dead); r.Expired = true; return r }

func with(r rule.Record, change func(*rule.Record)) rule.Record { change(&r); return r }

func ask(node placement.NodeID, epoch uint32, session, op uint64) placement.Bind {
	return placement.Bind{Node: node, ID: id, Epoch: ep(epoch), Digest: "d", At: at(session, op)}
}

func TestBind(t *testing.T) {
	draining := placement.NodeRecord{Node: "n1", Draining: true}
	for _, c := range []struct {
		name    string
		rec     rule.Record
		holders []placement.ID // of the HA slot; nil: the request has no token
		node    placement.NodeRecord
		ask     placement.Bind
		verdict string
		want    func(*rule.Record) // nil: unchanged
		slot    []placement.ID
	}{
		{
			name: "PENDING at the record's epoch is bound", rec: pending(), ask: ask("n1", 6, 2, 10), verdict: "yes",
			want: func(r *rule.Record) {
				r.State, r.Bound, r.Last = placement.Bound, holder("n1", 6, 2, 10), holder("n1", 6, 2, 10)
			},
		},
		{
			name: "the slot is taken with the bind", rec: pending(), holders: []placement.ID{}, ask: ask("n1", 6, 2, 10), verdict: "yes", slot: []placement.ID{id},
			want: func(r *rule.Record) {
				r.State, r.Bound, r.Last, r.Slot = placement.Bound, holder("n1", 6, 2, 10), holder("n1", 6, 2, 10), slotK
			},
		},
		{name: "a slot of another replica says no", rec: pending(), holders: []placement.ID{other}, ask: ask("n1", 6, 2, 10), verdict: "no", slot: []placement.ID{other}},
		{
			name: "a slot of an older life of this replica is shared", rec: pending(), holders: []placement.ID{"alice/shop/web/1.00000000000000000001"}, ask: ask("n1", 6, 2, 10), verdict: "yes",
			slot: []placement.ID{"alice/shop/web/1.00000000000000000001", id},
			want: func(r *rule.Record) {
				r.State, r.Bound, r.Last, r.Slot = placement.Bound, holder("n1", 6, 2, 10), holder("n1", 6, 2, 10), slotK
			},
		},
		{
			name: "a slot has two placements at most", rec: pending(), holders: []placement.ID{"alice/shop/web/1.0a", "alice/shop/web/1.0b"}, ask: ask("n1", 6, 2, 10), verdict: "no",
			slot: []placement.ID{"alice/shop/web/1.0a", "alice/shop/web/1.0b"},
		},
		{name: "an older epoch is refused", rec: pending(), ask: ask("n2", 5, 2, 10), verdict: "no"},
		{name: "another digest is refused", rec: pending(), ask: with2(ask("n1", 6, 2, 10), func(b *placement.Bind) { b.Digest = "x" }), verdict: "no"},
		{name: "a draining node takes no new work", rec: pending(), node: draining, ask: ask("n1", 6, 2, 10), verdict: "no"},
		{name: "a given-up node takes no new work", rec: pending(), node: placement.NodeRecord{GivenUp: true}, ask: ask("n1", 6, 2, 10), verdict: "no"},

		{name: "bound already: the same bind again changes nothing", rec: bound(), ask: ask("n1", 5, 2, 10), verdict: "yes"},
		{name: "bound already: an older bind changes nothing", rec: running(), ask: ask("n1", 5, 2, 9), verdict: "yes"},
		{
			name: "bound already: a newer op is recorded", rec: running(), ask: ask("n1", 5, 2, 12), verdict: "yes",
			want: func(r *rule.Record) { r.Bound, r.Last = holder("n1", 5, 2, 12), holder("n1", 5, 2, 12) },
		},
		{
			name: "bound already: a newer session is recorded", rec: bound(), ask: ask("n1", 5, 3, 1), verdict: "yes",
			want: func(r *rule.Record) { r.Bound, r.Last = holder("n1", 5, 3, 1), holder("n1", 5, 3, 1) },
		},
		{name: "bound already: draining leaves what runs", rec: bound(), node: draining, ask: ask("n1", 5, 2, 10), verdict: "yes"},
		{name: "bound already: another digest does not condemn what is bound", rec: bound(), ask: with2(ask("n1", 5, 2, 12), func(b *placement.Bind) { b.Digest = "x" }), verdict: "no"},
		{name: "bound to another node", rec: bound(), ask: ask("n2", 5, 2, 99), verdict: "no"},
		{name: "bound at another epoch", rec: bound(), ask: ask("n1", 4, 2, 99), verdict: "no"},

		{
			name: "last with a newer op is adopted", rec: lost(), ask: ask("n1", 5, 2, 11), verdict: "yes",
			want: func(r *rule.Record) {
				r.State, r.Bound, r.Last = placement.Bound, holder("n1", 5, 2, 11), holder("n1", 5, 2, 11)
			},
		},
		{name: "V8: a late repeat of the answered bind neither adopts nor condemns", rec: lost(), ask: ask("n1", 5, 2, 10), verdict: "no"},
		{name: "a late bind with an older op neither adopts nor condemns", rec: lost(), ask: ask("n1", 5, 2, 9), verdict: "no"},
		{name: "last of another node", rec: lost(), ask: ask("n2", 5, 2, 11), verdict: "no"},
		{
			name: "adoption checks the HA slot, and condemns without it", rec: lost(), holders: []placement.ID{other}, ask: ask("n1", 5, 2, 11), verdict: "no", slot: []placement.ID{other},
			want: func(r *rule.Record) { r.Last = nil },
		},
		{
			name: "a draining node adopts nothing, and is condemned", rec: lost(), node: draining, ask: ask("n1", 5, 2, 11), verdict: "no",
			want: func(r *rule.Record) { r.Last = nil },
		},
		{
			name: "another digest condemns", rec: lost(), ask: with2(ask("n1", 5, 2, 11), func(b *placement.Bind) { b.Digest = "x" }), verdict: "no",
			want: func(r *rule.Record) { r.Last = nil },
		},
		{name: "condemned, it is never adopted", rec: with(lost(), func(r *rule.Record) { r.Last = nil }), ask: ask("n1", 5, 2, 12), verdict: "no"},

		{name: "CANCELLED is never bound", rec: cancelled(), ask: ask("n1", 5, 2, 12), verdict: "no"},
		{name: "DONE is never bound", rec: in(pending(), placement.Done), ask: ask("n1", 6, 2, 12), verdict: "no"},
		{name: "DEAD is never bound", rec: in(pending(), placement.Dead), ask: ask("n1", 6, 2, 12), verdict: "no"},
		{name: "DEAD: a copy that asks is condemned", rec: expired(), ask: ask("n1", 5, 2, 12), verdict: "no", want: func(r *rule.Record) { r.Last = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := ""
			if c.holders != nil {
				key = slotK
			}
			if c.node.Node == "" {
				c.node.Node = c.ask.Node
			}
			got, slot, a := rule.Bind(c.rec, rule.Slot{Placements: c.holders}, key, c.node, c.ask)
			check(t, c.rec, got, c.want, a.Changed)
			if a.Verdict != c.verdict {
				t.Errorf("verdict %s, want %s", a.Verdict, c.verdict)
			}
			if a.Verdict == "no" && a.Reason == nil {
				t.Error("a no without a reason")
			}
			if len(slot.Placements)+len(c.slot) > 0 {
				if diff := cmp.Diff(c.slot, slot.Placements); diff != "" {
					t.Errorf("slot: %s", diff)
				}
			}
		})
	}
}

func with2(b placement.Bind, change func(*placement.Bind)) placement.Bind { change(&b); return b }

func check(t *testing.T, before, got rule.Record, change func(*rule.Record), changed bool) {
	t.Helper()
	want := before
	if change != nil {
		change(&want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got): %s", diff)
	}
	if changed != (change != nil) {
		t.Errorf("changed is %v", changed)
	}
}

func exit(code int, node placement.NodeID, epoch uint32, session, op uint64) placement.Bind {
	b := ask(node, epoch, session, op)
	b.Exit = &code
	return b
}

func TestExit(t *testing.T) {
	policy := func(restart string, retries, restarts int) rule.Record {
		r := running()
		r.Request.Restart, r.Request.Retries, r.Restarts, r.Slot = restart, retries, restarts, slotK
		return r
	}
	done := func(code int, why string) func(*rule.Record) {
		return func(r *rule.Record) {
			r.State, r.Bound, r.Last, r.Slot, r.Left, r.Exit, r.Why = placement.Done, nil, nil, "", 0, &code, why
			r.Home = "n1"
		}
	}
	again := func(code, restarts int, op uint64) func(*rule.Record) {
		return func(r *rule.Record) {
			r.State, r.Exit, r.Restarts = placement.Bound, &code, restarts
			r.Bound, r.Last = holder("n1", 5, 2, op), holder("n1", 5, 2, op)
		}
	}
	for _, c := range []struct {
		name    string
		rec     rule.Record
		drain   bool
		ask     placement.Bind
		wait    time.Duration
		verdict string
		want    func(*rule.Record)
		freed   bool
	}{
		{"without a policy it starts again", policy("", 0, 0), false, exit(1, "n1", 5, 2, 11), 0, "yes", again(1, 1, 11), false},
		{"it starts again with code 0 too", policy("", 0, 3), false, exit(0, "n1", 5, 2, 11), 0, "yes", again(0, 4, 11), false},
		{"V9: the question repeated with an equal op is the answer yes", policy("no", 0, 0), false, exit(1, "n1", 5, 2, 10), 0, "yes", nil, false},
		{"V9: an older question is the answer yes", policy("no", 0, 0), false, exit(1, "n1", 5, 2, 9), 0, "yes", nil, false},
		{"it backs off", policy("", 0, 3), false, exit(1, "n1", 5, 2, 11), time.Second, "wait", nil, false},
		{"no restart: any code ends it", policy("no", 0, 0), false, exit(3, "n1", 5, 2, 11), time.Second, "done", done(3, "exit code 3"), true},
		{"on-failure: code 0 ends it", policy("on-failure", 0, 0), false, exit(0, "n1", 5, 2, 11), 0, "done", done(0, "exit code 0"), true},
		{"on-failure: another code starts again", policy("on-failure", 3, 2), false, exit(1, "n1", 5, 2, 11), 0, "yes", again(1, 3, 11), false},
		{"on-failure: retries used up", policy("on-failure", 3, 3), false, exit(1, "n1", 5, 2, 11), 0, "done", done(1, "exit code 1 after 3 restarts"), true},
		{
			"a draining node starts it elsewhere", policy("", 0, 0), true, exit(1, "n1", 5, 2, 11), 0, "no",
			func(r *rule.Record) {
				code := 1
				r.State, r.Epoch, r.Bound, r.Last, r.Slot, r.Exit = placement.Pending, ep(9), nil, nil, "", &code
			}, true,
		},
		{"an exit of another node is refused", policy("", 0, 0), false, exit(1, "n2", 5, 2, 11), 0, "no", nil, false},
		{"an exit after rm is refused", cancelled(), false, exit(1, "n1", 5, 2, 11), 0, "no", nil, false},
		{
			"what was given up resumes after a reboot", lost(), false, exit(137, "n1", 5, 3, 1), 0, "yes",
			func(r *rule.Record) {
				r.State, r.Bound, r.Last, r.Slot = placement.Bound, holder("n1", 5, 3, 1), holder("n1", 5, 3, 1), slotK
			}, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			slot := rule.Slot{}
			if c.rec.Slot != "" {
				slot = slot.With(id)
			}
			got, slot, a := rule.Exit(c.rec, slot, slotK, placement.NodeRecord{Node: c.ask.Node, Draining: c.drain}, c.ask, ep(9), c.wait)
			check(t, c.rec, got, c.want, a.Changed)
			if a.Verdict != c.verdict {
				t.Errorf("verdict %s, want %s", a.Verdict, c.verdict)
			}
			if c.freed && len(slot.Placements) > 0 {
				t.Errorf("the slot is still held: %v", slot.Placements)
			}
			if got.Slot != "" && len(slot.Placements) != 1 {
				t.Errorf("the slot is not held: %v", slot.Placements)
			}
		})
	}
}

func TestRestartDelay(t *testing.T) {
	for _, c := range []struct {
		restarts int
		want     time.Duration
	}{{0, 0}, {1, time.Second}, {2, 2 * time.Second}, {8, 128 * time.Second}, {9, 256 * time.Second}, {10, 5 * time.Minute}, {1000, 5 * time.Minute}} {
		if got := rule.RestartDelay(c.restarts, 0.5); got != c.want {
			t.Errorf("after %d restarts: %s, want %s", c.restarts, got, c.want)
		}
	}
	if low, high := rule.RestartDelay(2, 0), rule.RestartDelay(2, 0.999); low != 1500*time.Millisecond || high > 2500*time.Millisecond || high < 2400*time.Millisecond {
		t.Errorf("jitter from %s to %s", low, high)
	}
}
