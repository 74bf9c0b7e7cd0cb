package appfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"longshore/internal/placement"
)

// problem is one thing that is wrong at one place of the file.
type problem struct {
	at              position
	what, why, next string
}

// moreShown is how many problems beside the first an error lists.
const moreShown = 8

// fail makes one error of all problems: the first in the file in full, the
// others as a list, so that one run shows everything there is to correct.
func fail(file string, problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col))
	})
	problems = slices.CompactFunc(problems, func(a, b problem) bool { return a.at == b.at && a.what == b.what })
	first := problems[0]
	e := &placement.Error{
		Kind: placement.KindInvalid,
		What: fmt.Sprintf("%s:%d:%d: %s", file, first.at.line, first.at.col, first.what),
		Why:  first.why,
		Next: first.next,
	}
	if rest := problems[1:]; len(rest) > 0 {
		var also []string
		for _, p := range rest[:min(len(rest), moreShown)] {
			also = append(also, fmt.Sprintf("%d:%d: %s", p.at.line, p.at.col, p.what))
		}
		if len(rest) > moreShown {
			also = append(also, fmt.Sprintf("and %d more", len(rest)-moreShown))
		}
		e.Why = strings.TrimPrefix(e.Why+"; also at ", "; ") + strings.Join(also, "; ")
	}
	return e
}
