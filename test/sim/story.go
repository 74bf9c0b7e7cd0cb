package sim

import (
	"regexp"
	"slices"
	"strings"
)

// Shrink leaves faults out as long as fails says that it still fails: first
// halves, then quarters, at last single ones.
func Shrink(faults []Fault, fails func([]Fault) bool) []Fault {
	for size := (len(faults) + 1) / 2; size > 0; {
		shrunk := false
		for from := 0; from < len(faults); {
			fewer := slices.Delete(slices.Clone(faults), from, min(from+size, len(faults)))
			if fails(fewer) {
				faults, shrunk = fewer, true
			} else {
				from += size
			}
		}
		if size == 1 && !shrunk {
			break
		}
		size = max(1, size/2)
		if size == 1 && len(faults) <= 1 {
			break
		}
	}
	return faults
}

var (
	replicaName = regexp.MustCompile(`o\d+/app\d+/s\d+/\d+`)
	numbers     = regexp.MustCompile(`\S*\d\S*`)
	nodeName    = regexp.MustCompile(`\bn\d+\b`)
)

// Kind is what the first violation says, without times, names and numbers; ""
// if there is none.
func (r Result) Kind() string {
	if len(r.Violations) == 0 {
		return ""
	}
	_, text, _ := strings.Cut(r.Violations[0], "  ")
	text, _, _ = strings.Cut(text, "(")
	return numbers.ReplaceAllString(text, "#")
}

// Relevant is the story as far as it has to do with the first violation: what
// happened to its placement, and what went wrong on the nodes that had it.
func (r Result) Relevant() []string {
	if len(r.Violations) == 0 {
		return nil
	}
	replica := replicaName.FindString(r.Violations[0])
	nodes := map[string]bool{}
	about := func(line string) bool { return replica != "" && strings.Contains(line, replica) }
	for _, line := range r.Story {
		if about(line) || strings.Contains(line, "VIOLATION") {
			for _, n := range nodeName.FindAllString(line, -1) {
				nodes[n] = true
			}
		}
	}
	var told []string
	for _, line := range r.Story {
		hit := about(line) || strings.Contains(line, "VIOLATION") || strings.Contains(line, "broadcasterd") || strings.Contains(line, "ledger") || strings.Contains(line, "FAULT") && !nodeName.MatchString(line)
		for _, n := range nodeName.FindAllString(line, -1) {
			hit = hit || nodes[n] && !replicaName.MatchString(line)
		}
		if hit {
			told = append(told, line)
		}
	}
	return told
}
