package cluster

import (
	"fmt"
	"maps"
	"slices"

	"longshore/internal/placement"
)

// AtRest tells what is wrong with the cluster if it is at rest: each wanted
// replica runs exactly once, as it was last asked for, and the ledger says so
// too; nothing else runs. Nothing is recorded. Of nodes that are cut off only
// what runs nowhere else counts.
func (k *Checker) AtRest(o Observation, ledger []placement.Status) []Violation {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []Violation
	say := func(kind, format string, args ...any) {
		found = append(found, Violation{kind, fmt.Sprintf(format, args...)})
	}
	for _, node := range slices.Sorted(maps.Keys(o.Blind)) {
		if k.cut[node] {
			continue
		}
		say(Unseen, "node %s cannot be seen at the end: %s", node, o.Blind[node])
	}
	known := map[placement.Replica]placement.Status{}
	for _, s := range ledger {
		if s.Wanted {
			known[s.Replica] = s
		}
	}
	copies := o.byReplica()
	for r, all := range copies {
		if near := slices.DeleteFunc(slices.Clone(all), k.isCut); len(near) > 0 {
			copies[r] = near
		}
	}
	for _, r := range slices.Sorted(maps.Keys(k.wanted)) {
		k.replicaAtRest(r, copies[r], known, say)
	}
	for _, r := range slices.Sorted(maps.Keys(copies)) {
		if _, ok := k.wanted[r]; !ok && !k.isCut(copies[r][0]) {
			say(Zombie, "nobody wants %s, and it runs on %s", copies[r][0].ID, copies[r][0].Node)
		}
	}
	for _, h := range o.Hidden {
		if k.cut[h.Node] {
			continue
		}
		say(Zombie, "container %.12s lives on %s, and its daemon does not show it", h.Container, h.Node)
	}
	return found
}

func (k *Checker) replicaAtRest(r placement.Replica, copies []Sighting, known map[placement.Replica]placement.Status, say func(kind, format string, args ...any)) {
	switch len(copies) {
	case 0:
		say(Lost, "at the end no copy of %s runs", r)
	case 1:
		if want := k.digest[r]; want != "" && copies[0].Digest != want {
			say(Stale, "%s runs as %.17s on %s, and is wanted as %.17s", r, copies[0].Digest, copies[0].Node, want)
		}
	default:
		say(Double, "at the end %d copies of %s run", len(copies), r)
	}
	s, ok := known[r]
	switch {
	case !ok:
		say(Lost, "the ledger has dropped %s", r)
	case s.State != placement.Running:
		say(Lost, "at the end the ledger says that %s is %s: %s", r, s.State.Word(), s.Why)
	case len(copies) == 1 && (string(s.Node) != copies[0].Node || s.ID != copies[0].ID || s.Epoch != copies[0].Epoch):
		say(Stale, "the ledger says that %s %s runs on %s, and what runs is %s %s on %s", s.ID, s.Epoch, s.Node, copies[0].ID, copies[0].Epoch, copies[0].Node)
	}
}

// Final judges the cluster at rest, as [Checker.AtRest] does, and records what
// it finds.
func (k *Checker) Final(o Observation, ledger []placement.Status) {
	found := k.AtRest(o, ledger)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range found {
		k.say(v.Kind, "%s", v.Text)
	}
}

// Violations are what was found, in order.
func (k *Checker) Violations() []string {
	var texts []string
	for _, v := range k.Found() {
		texts = append(texts, v.Text)
	}
	return texts
}

// Found are the violations with their kinds, in order.
func (k *Checker) Found() []Violation {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.found)
}

// Count is how many violations of one kind were found.
func (k *Checker) Count(kind string) (n int) {
	for _, v := range k.Found() {
		if v.Kind == kind {
			n++
		}
	}
	return n
}
