package placement

import (
	"fmt"
	"strings"
)

// Why tells, a line for each reason, which nodes passed on a waiting placement
// and for what, such as "3 of 3 nodes: ha_token shop-web held by
// alice/shop/web/1 (n1, n2, n3)". It is "" if none did.
func Why(s Status) string {
	total := 0
	for _, r := range s.Refusals {
		total += r.Nodes
	}
	var lines []string
	for _, r := range s.Refusals {
		line := fmt.Sprintf("%d of %d nodes: %s", r.Nodes, total, r.Reason)
		if total == 1 {
			line = fmt.Sprintf("1 of 1 node: %s", r.Reason)
		}
		if names := nodeNames(r.Names, r.Nodes); names != "" {
			line += " (" + names + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func nodeNames(names []NodeID, of int) string {
	var s []string
	for _, n := range names {
		s = append(s, string(n))
	}
	if len(names) > 0 && len(names) < of {
		s = append(s, "...")
	}
	return strings.Join(s, ", ")
}
