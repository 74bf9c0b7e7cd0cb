package main

import (
	"fmt"
	"slices"
	"strings"

	"longshore/internal/placement"
)

// progress follows the replicas of one submitted app until each has reached
// what its file asks for.
type progress struct {
	digests map[placement.Replica]string // what each replica shall run
	now     map[placement.Replica]placement.Status
	leaving map[placement.Replica]bool // removed by the submit, not gone yet
}

// newProgress begins with the answer to a submit.
func newProgress(wanted placement.App, answer placement.Submitted) *progress {
	p := &progress{
		digests: map[placement.Replica]string{},
		now:     map[placement.Replica]placement.Status{},
		leaving: map[placement.Replica]bool{},
	}
	for _, s := range wanted.Services {
		for n := range s.Replicas {
			p.digests[placement.NewReplica(wanted.Owner, wanted.Name, s.Name, n+1)] = answer.Digests[s.Name]
		}
	}
	for _, r := range answer.Destroyed {
		delete(p.digests, r) // by somebody's word; nothing to wait for
	}
	for _, r := range answer.Removed {
		p.leaving[r] = true
	}
	return p
}

// apply takes in an event and tells whether a person would want to see it.
func (p *progress) apply(e placement.Event) bool {
	if e.Synced {
		return false
	}
	if p.leaving[e.Replica] {
		if e.State == placement.Cancelled && e.Node == "" {
			delete(p.leaving, e.Replica)
		}
		return true
	}
	if _, ours := p.digests[e.Replica]; !ours || !e.Wanted {
		return false
	}
	before, known := p.now[e.Replica]
	p.now[e.Replica] = e.Status
	if e.Digest != p.digests[e.Replica] {
		return false // the old life of a replica that is to be replaced
	}
	return !known || before.ID != e.ID || before.State != e.State || before.Why != e.Why || before.Phase != e.Phase
}

// reached tells whether the replica is where its file wants it.
func (p *progress) reached(r placement.Replica) bool {
	s, ok := p.now[r]
	return ok && s.Digest == p.digests[r] && (s.State == placement.Running || s.State == placement.Done)
}

func (p *progress) dead(r placement.Replica) bool {
	s, ok := p.now[r]
	return ok && s.Digest == p.digests[r] && s.State == placement.Dead
}

// finished tells whether nothing more is to be waited for.
func (p *progress) finished() bool {
	for r := range p.digests {
		if !p.reached(r) && !p.dead(r) {
			return false
		}
	}
	return true
}

// verdict is the error of a finished progress: nil when all is as wanted.
func (p *progress) verdict() error {
	var dead, failed []string
	for _, r := range p.replicas() {
		switch s := p.now[r]; {
		case p.dead(r):
			dead = append(dead, fmt.Sprintf("%s: %s", r, s.Why))
		case s.State == placement.Done && s.ExitCode != 0:
			failed = append(failed, fmt.Sprintf("%s ended with exit code %d", r, s.ExitCode))
		}
	}
	if len(dead)+len(failed) == 0 {
		return nil
	}
	return &placement.Error{
		Kind: placement.KindRefused,
		What: p.String(),
		Why:  strings.Join(append(dead, failed...), "; "),
		Next: "mend it and submit again, or: schedctl retry APP",
	}
}

// crashing tells whether something that does not run has ended by itself.
func (p *progress) crashing() bool {
	for r := range p.digests {
		if s := p.now[r]; !p.reached(r) && s.ExitCode != 0 {
			return true
		}
	}
	return false
}

// why is the reason of the first replica that is not where it shall be.
func (p *progress) why() string {
	for _, r := range p.replicas() {
		if s := p.now[r]; !p.reached(r) && s.Why != "" {
			return fmt.Sprintf("%s: %s", r, s.Why)
		}
	}
	return ""
}

func (p *progress) replicas() []placement.Replica {
	all := make([]placement.Replica, 0, len(p.digests))
	for r := range p.digests {
		all = append(all, r)
	}
	slices.Sort(all)
	return all
}

// String is "2 of 3 running", with what is done or failed.
func (p *progress) String() string {
	var running, done, dead int
	for r := range p.digests {
		switch s := p.now[r]; {
		case p.dead(r):
			dead++
		case p.reached(r) && s.State == placement.Done:
			done++
		case p.reached(r):
			running++
		}
	}
	s := fmt.Sprintf("%d of %d running", running, len(p.digests))
	if done > 0 {
		s += fmt.Sprintf(", %d done", done)
	}
	if dead > 0 {
		s += fmt.Sprintf(", %d failed", dead)
	}
	return s
}
