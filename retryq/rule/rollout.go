package rule

import (
	"cmp"
	"slices"

	"longshore/internal/placement"
)

// Standing is one replica of an app as the ledger has it: its record, and the
// record of its wanted life, nil if it has none.
type Standing struct {
	Replica Replica
	Wanted  *Record
	Moves   bool // its wanted life is to leave the node that it is on
}

// Step is one thing to do for a replica so that it comes closer to the wish.
// Cancel first, then begin.
type Step struct {
	Replica placement.Replica
	Cancel  bool   // end its wanted life
	Lift    bool   // forget that somebody destroyed it: it is not wished any more
	Begin   bool   // a new life with the wished request, due when the older ones are gone
	Service int    // index of the wished service; with Begin
	Gates   bool   // the new life replaces one that was bound: the next replica waits until it runs
	Ended   *Ended // remember that somebody destroyed it
	Why     string
}

// Rollout compares an app's wish with its replicas. The steps can be done now,
// in this order; done tells that nothing is left to do after them. It is the
// same function for submit, update, scaling, rm and after a restart:
//
//   - a replica that is no longer wished is cancelled;
//   - a wished one without a life gets one, at once, unless somebody destroyed
//     it and the app still wishes the request that it wished then;
//   - one whose request changed is replaced: at once if it is not on a node
//     (nothing is lost by it), otherwise one after the other in each service,
//     the next when the life that replaced the last one has run. One that
//     somebody stopped is replaced too, and its new life starts;
//   - one that is to leave its node ([Standing.Moves]) is replaced by a new life
//     with the same request, in the same pace.
func Rollout(app App, digests []string, have []Standing) (steps []Step, done bool) {
	byName := make(map[placement.Replica]Standing, len(have))
	for _, s := range have {
		byName[s.Replica.Replica] = s
	}
	wished := make(map[placement.Replica]bool)
	done = true
	if !app.Removed {
		for i := range app.Wish.Services {
			more, finished := rollService(app, i, digests[i], byName, wished)
			steps = append(steps, more...)
			done = done && finished
		}
	}
	var ended []Step
	for _, s := range have {
		if (s.Wanted != nil || s.Replica.Ended != nil) && !wished[s.Replica.Replica] {
			ended = append(ended, Step{Replica: s.Replica.Replica, Cancel: s.Wanted != nil, Lift: true, Why: "removed"})
		}
	}
	slices.SortFunc(ended, func(a, b Step) int { return cmp.Compare(a.Replica, b.Replica) })
	return append(ended, steps...), done
}

// rollService is Rollout for one service.
func rollService(app App, i int, digest string, have map[placement.Replica]Standing, wished map[placement.Replica]bool) (steps []Step, done bool) {
	service := app.Wish.Services[i]
	var placed []Step // replacements of copies that are on a node
	gated := false    // one of them is not through yet
	for n := 1; n <= service.Replicas; n++ {
		name := placement.NewReplica(app.Owner, app.Name, service.Name, n)
		wished[name] = true
		old := have[name].Wanted
		switch {
		case destroyed(have[name], digest):
		case old == nil:
			steps = append(steps, Step{Replica: name, Begin: true, Service: i})
		case old.Digest == digest && (!have[name].Moves || !old.Live()):
			gated = gated || old.Gates && old.State != placement.Done
		default:
			step := Step{Replica: name, Cancel: true, Begin: true, Service: i, Gates: old.Live() || old.Gates, Why: "replaced by a changed request"}
			if old.Digest == digest {
				step.Why = "moves away: its node is drained"
			}
			if old.Live() {
				placed = append(placed, step)
			} else {
				steps = append(steps, step)
				gated = gated || step.Gates
			}
		}
	}
	if len(placed) > 0 && !gated {
		steps = append(steps, placed[0])
		gated = true
	}
	return steps, len(placed) == 0 && !gated
}

// destroyed tells whether somebody's word keeps the replica from a new life
// with the request.
func destroyed(s Standing, digest string) bool {
	return s.Wanted == nil && s.Replica.Ended != nil && s.Replica.Ended.Digest == digest
}

// Destroyed lists the replicas that an app wishes and that have no life because
// somebody destroyed them.
func Destroyed(app App, digests []string, have []Standing) []placement.Replica {
	var names []placement.Replica
	for _, s := range have {
		i, wished := app.Serves(s.Replica.Replica)
		if wished && destroyed(s, digests[i]) {
			names = append(names, s.Replica.Replica)
		}
	}
	slices.Sort(names)
	return names
}

// Serves is the index of the service of which an app wishes the replica.
func (a App) Serves(r placement.Replica) (int, bool) {
	i := slices.IndexFunc(a.Wish.Services, func(s placement.Service) bool { return s.Name == r.Service() })
	return i, i >= 0 && !a.Removed && r.Number() >= 1 && r.Number() <= a.Wish.Services[i].Replicas
}

// Diff is what a wish changes, as its submitter is told: the replicas that are
// added, replaced and removed, in the order of names.
func Diff(app App, digests []string, have []Standing) (added, changed, removed []placement.Replica) {
	byName := make(map[placement.Replica]Standing, len(have))
	for _, s := range have {
		byName[s.Replica.Replica] = s
	}
	wished := make(map[placement.Replica]bool)
	for i, service := range app.Wish.Services {
		for n := 1; n <= service.Replicas; n++ {
			name := placement.NewReplica(app.Owner, app.Name, service.Name, n)
			wished[name] = true
			switch old := byName[name].Wanted; {
			case destroyed(byName[name], digests[i]):
			case old == nil:
				added = append(added, name)
			case old.Digest != digests[i]:
				changed = append(changed, name)
			}
		}
	}
	for _, s := range have {
		if s.Wanted != nil && !wished[s.Replica.Replica] {
			removed = append(removed, s.Replica.Replica)
		}
	}
	slices.Sort(removed)
	return added, changed, removed
}
