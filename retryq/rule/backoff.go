package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"longshore/internal/placement"
)

// Backoff is how long a placement waits after its try-th chain of rounds (from
// 0) came to nothing: min(30 s, 2 s x 2^try) x 0.5 to 1.5. u is uniform in
// [0, 1).
func Backoff(try int, u float64) time.Duration {
	d := 30 * time.Second
	if try < 4 {
		d = min(d, 2*time.Second<<max(try, 0))
	}
	return time.Duration(float64(d) * (0.5 + u))
}

// SumUp counts refusals by reason, the commonest first, with three examples
// each. The reason told is that of the node that came closest.
func SumUp(o placement.Outcome) []placement.Refusal {
	var sum []placement.Refusal
	at := make(map[string]int)
	for _, p := range o.Passes {
		i, ok := at[p.Reason.Code]
		if !ok {
			i = len(sum)
			at[p.Reason.Code] = i
			sum = append(sum, placement.Refusal{Reason: p.Reason})
		}
		if s := p.Reason.Short; s > 0 && s < sum[i].Reason.Short {
			sum[i].Reason = p.Reason
		}
		sum[i].Nodes++
		if len(sum[i].Names) < 3 {
			sum[i].Names = append(sum[i].Names, p.Node)
		}
	}
	for code, n := range o.Ignored {
		sum = append(sum, placement.Refusal{Reason: placement.Reason{Code: code, Text: placement.NotAsked}, Nodes: n})
	}
	slices.SortFunc(sum, func(a, b placement.Refusal) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Reason.Code, b.Reason.Code), cmp.Compare(a.Reason.Text, b.Reason.Text))
	})
	return sum
}

// Tell is a summary of refusals in one line: "3 of 3 nodes: ha_token web held
// by alice/shop/web/1", or each reason with its count.
func Tell(refusals []placement.Refusal) string {
	total := 0
	for _, r := range refusals {
		total += r.Nodes
	}
	if total == 0 {
		return "no node is there to ask"
	}
	parts := make([]string, 0, len(refusals))
	for _, r := range refusals {
		word := "nodes"
		if total == 1 {
			word = "node"
		}
		parts = append(parts, fmt.Sprintf("%d of %d %s: %s", r.Nodes, total, word, r.Reason))
	}
	return strings.Join(parts, "; ")
}

// OnlyLocks tells whether a whole chain of rounds failed on claims alone, so
// that the next goes out without claim.
func OnlyLocks(o placement.Outcome) bool {
	if o.Asked == 0 || o.Taken != "" || len(o.Passes) == 0 {
		return false
	}
	return !slices.ContainsFunc(o.Passes, func(p placement.Pass) bool { return p.Reason.Code != placement.ReasonLock })
}
