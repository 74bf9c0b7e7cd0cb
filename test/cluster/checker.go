package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"longshore/internal/placement"
)

// Bounds of what a [Checker] forgives.
type Bounds struct {
	// Double is how long two copies of one replica, or two replicas of one HA
	// token on one node, may run, or a copy of a removed replica go on, once all
	// their nodes can be reached.
	Double time.Duration
	// Missing is how long a wanted replica may have no running copy.
	Missing time.Duration
}

// Kinds of violations.
const (
	Lost   = "lost"   // wanted, and does not run, or the ledger does not know it
	Double = "double" // runs twice, or beside what it must be apart from
	Zombie = "zombie" // runs, and is not wanted
	Stale  = "stale"  // runs otherwise than wanted
	Unseen = "unseen" // could not be judged
)

// Violation is one broken promise.
type Violation struct {
	Kind string
	Text string
}

// Checker judges a cluster by what its Docker daemons say and by what the test
// itself asked for. It asks Longshore nothing, but for the last word of
// [Checker.Final].
//
// What a call that got no answer asked for may or may not have been done:
// such a replica is of neither kind, wanted nor removed ([Checker.Forget]),
// until an answer came.
type Checker struct {
	bounds Bounds

	mu       sync.Mutex
	wanted   map[placement.Replica]time.Time // since
	unwanted map[placement.Replica]time.Time
	digest   map[placement.Replica]string // of the request that is wanted
	token    map[placement.Replica]string // HA token, with its owner
	cut      map[string]bool              // nodes that the test has killed whole
	crowd    map[string]time.Time         // too many run since, by replica or by token and node
	hidden   map[Hidden]time.Time         // since
	missing  map[placement.Replica]time.Time
	at       map[placement.Replica]Sighting // where it ran last
	moved    []string
	told     map[Violation]bool
	found    []Violation
	longest  time.Duration // that a crowd lasted
	looks    int
	last     time.Time // look
	gap      time.Duration
}

// NewChecker wants nothing yet.
func NewChecker(b Bounds) *Checker {
	return &Checker{
		bounds: b,
		wanted: map[placement.Replica]time.Time{}, unwanted: map[placement.Replica]time.Time{},
		digest: map[placement.Replica]string{}, token: map[placement.Replica]string{},
		cut: map[string]bool{}, crowd: map[string]time.Time{}, missing: map[placement.Replica]time.Time{},
		at: map[placement.Replica]Sighting{}, told: map[Violation]bool{},
	}
}

// Want says that the replicas shall run from now on.
func (k *Checker) Want(now time.Time, replicas ...placement.Replica) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range replicas {
		if _, ok := k.wanted[r]; !ok {
			k.wanted[r] = now
		}
		delete(k.unwanted, r)
	}
}

// WantRequest says which request the replicas shall run in the end.
func (k *Checker) WantRequest(digest string, replicas ...placement.Replica) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range replicas {
		k.digest[r] = digest
	}
}

// WantApart says that no two of the owner's replicas with this token shall run
// on one node, ever.
func (k *Checker) WantApart(token string, replicas ...placement.Replica) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range replicas {
		k.token[r] = r.Owner() + "'s ha_token " + token
	}
}

// Unwant says that the replicas were removed.
func (k *Checker) Unwant(now time.Time, replicas ...placement.Replica) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(replicas)
	for _, r := range replicas {
		k.unwanted[r] = now
	}
}

// Forget says that the replicas may be wanted or not. Two copies of them stay
// as wrong as ever.
func (k *Checker) Forget(replicas ...placement.Replica) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(replicas)
}

func (k *Checker) forget(replicas []placement.Replica) {
	for _, r := range replicas {
		delete(k.wanted, r)
		delete(k.unwanted, r)
		delete(k.missing, r)
		delete(k.digest, r)
	}
}

// Cut says that a node cannot be reached, so that its copies cannot be stopped;
// or that it can again.
func (k *Checker) Cut(node string, cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut[node] = cut
}

// Watch looks once a second until ctx ends.
func (k *Checker) Watch(ctx context.Context, look func() Observation) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		k.Observe(look())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Observe takes in one look at all daemons.
func (k *Checker) Observe(o Observation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.looks > 0 {
		k.gap = max(k.gap, o.At.Sub(k.last))
	}
	k.looks++
	k.last = o.At
	copies := o.byReplica()
	crowded := map[string]bool{}
	for _, r := range slices.Sorted(maps.Keys(copies)) {
		k.sameEpoch(copies[r])
		k.doubles(o, r, copies[r], crowded)
		k.zombies(o, r, copies[r])
		k.moves(o.At, copies[r])
	}
	k.together(o, crowded)
	maps.DeleteFunc(k.crowd, func(key string, _ time.Time) bool { return !crowded[key] })
	k.hiding(o)
	k.absences(o, copies)
}

func (k *Checker) say(kind, format string, args ...any) {
	if v := (Violation{kind, fmt.Sprintf(format, args...)}); !k.told[v] {
		k.told[v] = true
		k.found = append(k.found, v)
	}
}

// anyCut tells whether one of the copies cannot be stopped now. (A copy that
// was seen is one whose daemon answers.)
func (k *Checker) anyCut(copies []Sighting) bool {
	return slices.ContainsFunc(copies, k.isCut)
}

func (k *Checker) isCut(s Sighting) bool { return k.cut[s.Node] }

// sameEpoch: never two running in one epoch, not for a moment.
func (k *Checker) sameEpoch(running []Sighting) {
	for i, b := range running {
		for _, a := range running[:i] {
			if a.ID == b.ID && a.Epoch == b.Epoch {
				k.say(Double, "two copies in one epoch: %s %s on %s and %s", a.ID, a.Epoch, a.Node, b.Node)
			}
		}
	}
}

// doubles: two copies of a replica only within the bound.
func (k *Checker) doubles(o Observation, r placement.Replica, running []Sighting, crowded map[string]bool) {
	if len(running) > 1 && k.tooLong(o, "copies of "+string(r), running, crowded) {
		k.say(Double, "two copies of %s for more than %v: on %s and %s", r, k.bounds.Double, running[0].Node, running[1].Node)
	}
}

// together: two replicas of one HA token on one node only within the bound.
func (k *Checker) together(o Observation, crowded map[string]bool) {
	held := map[string][]Sighting{}
	for _, s := range o.Seen {
		if token, ok := k.token[s.ID.Replica()]; ok && s.Running {
			key := token + " on " + s.Node
			if !slices.ContainsFunc(held[key], func(h Sighting) bool { return h.ID.Replica() == s.ID.Replica() }) {
				held[key] = append(held[key], s)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(held)) {
		if len(held[key]) > 1 && k.tooLong(o, key, held[key], crowded) {
			k.say(Double, "%s: %s and %s run for more than %v", key, held[key][0].ID.Replica(), held[key][1].ID.Replica(), k.bounds.Double)
		}
	}
}

// tooLong tells whether the crowd has lasted beyond the bound, which begins
// when all its nodes can be reached.
func (k *Checker) tooLong(o Observation, key string, crowd []Sighting, crowded map[string]bool) bool {
	crowded[key] = true
	if since, ok := k.crowd[key]; ok && !k.anyCut(crowd) {
		k.longest = max(k.longest, o.At.Sub(since))
		return o.At.Sub(since) > k.bounds.Double
	}
	k.crowd[key] = o.At
	return false
}

// zombies: what was removed is gone within the bound.
func (k *Checker) zombies(o Observation, r placement.Replica, running []Sighting) {
	since, ok := k.unwanted[r]
	switch {
	case !ok:
	case k.anyCut(running):
		k.unwanted[r] = o.At
	case o.At.Sub(since) > k.bounds.Double:
		k.say(Zombie, "%s was removed, and runs %v later on %s", r, k.bounds.Double, running[0].Node)
	}
}

// hiding: nothing runs that its daemon does not list.
func (k *Checker) hiding(o Observation) {
	now := map[Hidden]time.Time{}
	for _, h := range o.Hidden {
		since, ok := k.hidden[h]
		if !ok {
			since = o.At
		}
		now[h] = since
		if o.At.Sub(since) > k.bounds.Double {
			k.say(Zombie, "container %.12s lives on %s, and its daemon does not show it for more than %v", h.Container, h.Node, k.bounds.Double)
		}
	}
	k.hidden = now
}

// absences: what is wanted runs. While a daemon cannot be listed, it may run
// where nobody can look.
func (k *Checker) absences(o Observation, copies map[placement.Replica][]Sighting) {
	for _, r := range slices.Sorted(maps.Keys(k.wanted)) {
		if len(copies[r]) > 0 {
			delete(k.missing, r)
			continue
		}
		if _, ok := k.missing[r]; !ok {
			k.missing[r] = o.At
		}
		if len(o.Blind) == 0 && o.At.Sub(k.missing[r]) > k.bounds.Missing {
			k.say(Lost, "%s is wanted and was not seen running for more than %v", r, k.bounds.Missing)
		}
	}
}

// moves notes copies that another one of the same life took the place of.
func (k *Checker) moves(now time.Time, running []Sighting) {
	for _, s := range running {
		r := s.ID.Replica()
		was := k.at[r]
		if was.ID == s.ID && was.Epoch < s.Epoch {
			k.moved = append(k.moved, fmt.Sprintf("%s %s from %s %s to %s %s", now.UTC().Format(time.TimeOnly), s.ID, was.Node, was.Epoch, s.Node, s.Epoch))
		}
		if was.ID.Life() < s.ID.Life() || was.Epoch < s.Epoch {
			k.at[r] = s
		}
	}
}

// Moved tells of each copy that was seen running and that another one of the
// same life took the place of, so that nobody's rm or update ended it. It is
// no violation: a copy may exit, and a node be lost.
func (k *Checker) Moved() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.moved)
}

// Longest is the longest time that two copies of a replica, or two replicas of
// one HA token on one node, ran at once while both could be reached.
func (k *Checker) Longest() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.longest
}

// Looks is how often the daemons were looked at, and the longest time between
// two looks.
func (k *Checker) Looks() (n int, gap time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.looks, k.gap
}
