package rule_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

func life(k int) placement.Life { return placement.Life(fmt.Sprintf("%020x", k)) }

// found is life k of alice/shop/web/1, on n1.
func found(k int, state placement.CopyState, change ...func(*rule.Found)) rule.Found {
	id := placement.Replica("alice/shop/web/1").Placement(life(k))
	e := placement.Epoch(life(k + 50))
	f := rule.Found{
		ID: id, Digest: "d", Next: placement.Epoch(life(1000 + k)),
		Copy:   placement.Copy{ID: id, Epoch: e, State: state},
		Holder: placement.Holder{Node: "n1", Epoch: e, At: placement.SessionOp{Session: 2, Op: 3}},
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

func TestTakeIn(t *testing.T) {
	run, exited := placement.CopyRunning, placement.CopyExited
	ended := func(policy string, code int) func(*rule.Found) {
		return func(f *rule.Found) { f.Request.Restart, f.Copy.Exit = policy, code }
	}
	for _, c := range []struct {
		name     string
		lives    []int // of the replica, known
		wanted   int   // of them; 0: none
		found    []rule.Found
		want     []int
		newest   int // wanted after it
		replaced int
		records  string // state and what it holds (b) or may adopt (l), in the order of lives
	}{
		{"nothing", []int{1}, 1, nil, []int{1}, 1, 0, ""},
		{"an unknown replica", nil, 0, []rule.Found{found(5, run)}, []int{5}, 5, 0, "PENDING l"},
		{"two lives, the older one leaves", nil, 0, []rule.Found{found(7, run), found(5, run)}, []int{5, 7}, 7, 0, "CANCELLED b, PENDING l"},
		{"a newer life than the known one", []int{3}, 3, []rule.Found{found(5, run)}, []int{3, 5}, 5, 3, "PENDING l"},
		{"an older life than the known one", []int{8}, 8, []rule.Found{found(5, run)}, []int{5, 8}, 8, 0, "CANCELLED b"},
		{"an older life than one that was removed", []int{8}, 0, []rule.Found{found(5, run)}, []int{5, 8}, 0, 0, "CANCELLED b"},
		{"a newer life than one that was removed", []int{3}, 0, []rule.Found{found(5, run)}, []int{3, 5}, 5, 0, "PENDING l"},
		{"created", nil, 0, []rule.Found{found(5, placement.CopyCreated)}, []int{5}, 5, 0, "PENDING"},
		{"ended, to be started again", nil, 0, []rule.Found{found(5, exited, ended("", 0))}, []int{5}, 5, 0, "PENDING l"},
		{"ended for good", nil, 0, []rule.Found{found(5, exited, ended(placement.RestartNo, 3))}, []int{5}, 5, 0, "DONE"},
		{"failed, to be started again", nil, 0, []rule.Found{found(5, exited, ended(placement.RestartOnFailure, 3))}, []int{5}, 5, 0, "PENDING l"},
		{"succeeded", nil, 0, []rule.Found{found(5, exited, ended(placement.RestartOnFailure, 0))}, []int{5}, 5, 0, "DONE"},
		{"ended, and older", nil, 0, []rule.Found{found(5, exited, ended(placement.RestartNo, 0)), found(6, run)}, []int{5, 6}, 6, 0, "CANCELLED b, PENDING l"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := rule.Replica{V: 1, Replica: "alice/shop/web/1", Lives: lives(c.lives), Wanted: maybe(c.wanted)}
			before := append([]placement.Life(nil), old.Lives...)
			got, records, replaced := rule.TakeIn(old, c.found)
			want := rule.Replica{V: 1, Replica: "alice/shop/web/1", Lives: lives(c.want), Wanted: maybe(c.newest)}
			if diff := cmp.Diff(want, got); diff != "" || replaced != maybe(c.replaced) {
				t.Errorf("replaced %q; replica (-want +got):\n%s", replaced, diff)
			}
			if diff := cmp.Diff(before, old.Lives); diff != "" {
				t.Errorf("the given replica was changed:\n%s", diff)
			}
			text := ""
			for i, r := range records {
				if i > 0 {
					text += ", "
				}
				text += string(r.State)
				if r.Bound != nil {
					text += " b"
				}
				if r.Last != nil {
					text += " l"
				}
				if r.Epoch <= placement.Epoch(life(99)) || r.Digest != "d" || r.Slot != "" {
					t.Errorf("record %+v", r)
				}
			}
			if text != c.records {
				t.Errorf("records %s, want %s", text, c.records)
			}
		})
	}
}

func maybe(k int) placement.Life {
	if k == 0 {
		return ""
	}
	return life(k)
}

func lives(ks []int) []placement.Life {
	var all []placement.Life
	for _, k := range ks {
		all = append(all, life(k))
	}
	return all
}

// has is replica n of a service of alice/shop whose wanted life k runs image v.
func has(service string, n, k, v int) rule.Standing {
	name := placement.NewReplica("alice", "shop", service, n)
	r := placement.Request{V: 1, Image: fmt.Sprint("image", v)}
	rec := rule.Record{ID: name.Placement(life(k)), Request: r, Digest: r.Digest()}
	return rule.Standing{Replica: rule.Replica{Replica: name, Lives: []placement.Life{life(k)}, Wanted: life(k)}, Wanted: &rec}
}

func TestRewish(t *testing.T) {
	wish := func(text ...string) (services []placement.Service) {
		for _, s := range text {
			var name string
			var n, v int
			if _, err := fmt.Sscanf(s, "%s %d image%d", &name, &n, &v); err != nil {
				t.Fatal(err)
			}
			services = append(services, placement.Service{Name: name, Replicas: n, Request: placement.Request{V: 1, Image: fmt.Sprint("image", v)}, Deadline: 7})
		}
		return services
	}
	tell := func(services []placement.Service) (text []string) {
		for _, s := range services {
			text = append(text, fmt.Sprintf("%s %d %s", s.Name, s.Replicas, s.Request.Image))
		}
		return text
	}
	ending := has("web", 3, 20, 1)
	ending.Wanted = nil
	for _, c := range []struct {
		name    string
		since   int
		removed bool
		wish    []string
		have    []rule.Standing
		want    []string
		changed bool
	}{
		{"nothing known, nothing there", 0, false, nil, nil, nil, false},
		{
			"an unknown app", 0, false, nil,
			[]rule.Standing{has("web", 3, 11, 1), has("web", 1, 10, 1), has("api", 1, 12, 2)},
			[]string{"api 1 image2", "web 3 image1"},
			true,
		},
		{"all as it was wished", 9, false, []string{"web 2 image1"}, []rule.Standing{has("web", 1, 10, 1), has("web", 2, 11, 1)}, []string{"web 2 image1"}, false},
		{"what runs nowhere stays wished", 9, false, []string{"api 1 image5", "web 3 image1"}, []rule.Standing{has("web", 1, 10, 1)}, []string{"api 1 image5", "web 3 image1"}, false},
		{"scaled up since", 9, false, []string{"web 1 image1"}, []rule.Standing{has("web", 1, 10, 1), has("web", 4, 20, 1)}, []string{"web 4 image1"}, true},
		{"changed since, half way through", 9, false, []string{"web 2 image1"}, []rule.Standing{has("web", 1, 20, 2), has("web", 2, 11, 1)}, []string{"web 2 image2"}, true},
		{"half way through by this wish", 15, false, []string{"web 2 image2"}, []rule.Standing{has("web", 1, 20, 2), has("web", 2, 11, 1)}, []string{"web 2 image2"}, false},
		{"a service added since", 9, false, []string{"web 1 image1"}, []rule.Standing{has("web", 1, 10, 1), has("api", 2, 20, 2)}, []string{"api 2 image2", "web 1 image1"}, true},
		{"the wish is newer than the lives", 30, false, []string{"web 1 image3"}, []rule.Standing{has("web", 1, 20, 2), has("web", 2, 21, 2), has("api", 1, 22, 2)}, []string{"web 1 image3"}, false},
		{"removed, and submitted again since", 9, true, nil, []rule.Standing{has("web", 1, 20, 2)}, []string{"web 1 image2"}, true},
		{"removed since they began", 30, true, nil, []rule.Standing{has("web", 1, 20, 2)}, nil, false},
		{"what is not wanted wishes nothing", 9, false, []string{"web 1 image1"}, []rule.Standing{has("web", 1, 10, 1), ending}, []string{"web 1 image1"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := rule.App{V: 1, Revision: 4, Removed: c.removed, Since: maybe(c.since), Wish: placement.App{Services: wish(c.wish...)}}
			got, changed := rule.Rewish(app, c.have)
			if diff := cmp.Diff(c.want, tell(got.Wish.Services)); diff != "" || changed != c.changed {
				t.Fatalf("changed %v; wish (-want +got):\n%s", changed, diff)
			}
			if diff := cmp.Diff(c.wish, tell(app.Wish.Services)); diff != "" {
				t.Errorf("the given wish was changed:\n%s", diff)
			}
			if !changed {
				return
			}
			if got.Removed || got.Revision != 5 || got.Owner != "alice" || got.Wish.Name != "shop" || got.Since != app.Since {
				t.Errorf("app %+v", got)
			}
			for _, s := range got.Wish.Services {
				if known := len(c.wish) > 0 && s.Name == "web"; (s.Deadline == 7) != known {
					t.Errorf("%s has the deadline %d", s.Name, s.Deadline)
				}
			}
			if again, changed := rule.Rewish(got, c.have); changed {
				t.Errorf("again it becomes %v", tell(again.Wish.Services))
			}
		})
	}
}

func TestAfterFork(t *testing.T) {
	of := func(s placement.Start) placement.Life { return s.Life(1) }
	m := rule.Meta{}.Begin(9, 1, false, placement.Mark{}).Begin(3, 10, false, placement.Mark{})
	first, second := m.Starts[0].Start, m.Starts[1].Start
	if m.AfterFork(of(first)) || m.AfterFork(of(second)) || m.AfterFork("") {
		t.Error("there was no fork")
	}
	told := m.Begin(5, 20, true, placement.Mark{}) // by the operator
	if told.AfterFork(of(second)) || !told.AfterFork(of(told.Start())) {
		t.Errorf("a new generation: %+v", told)
	}
	proven := m.Begin(5, 20, true, placement.Mark{Gen: 1, Start: placement.NewStart(7, 1), Rev: 90})
	if proven.AfterFork(of(first)) || !proven.AfterFork(of(second)) || !proven.AfterFork(of(proven.Start())) || proven.AfterFork(of(placement.NewStart(7, 1))) {
		t.Errorf("proven by a node: %+v", proven)
	}
	again := proven.Begin(6, 30, true, placement.Mark{Gen: 2, Start: placement.NewStart(11, 1), Rev: 90})
	if again.Fork != proven.Fork || !again.AfterFork(of(second)) {
		t.Errorf("proven by a second node: %+v", again)
	}
}
