package hostinfo

import (
	"context"
	"fmt"
	"strings"

	"longshore/internal/placement"
)

// Holding says why what silent nodes ran is not started elsewhere now, if the
// mass guard or our own trouble holds it back; "" if nothing does.
func (c *Collector) Holding(ctx context.Context) (string, error) {
	records, err := c.ledger.Nodes(ctx)
	if err != nil {
		return "", fmt.Errorf("list nodes: %w", err)
	}
	s := c.snapshot(records)
	g := c.cfg.Times.guard(s)
	var all []string
	if s.Trouble != "" {
		all = append(all, "the broadcaster suspects itself and gives nothing up: "+s.Trouble)
	}
	if g.why != "" {
		all = append(all, g.why)
	}
	if held := g.heldOwners(); len(held) > 0 {
		all = append(all, fmt.Sprintf("the dockerds of %s fell silent on many nodes together: what they run is not started elsewhere before some are heard again, or an operator says `schedctl guard release`", strings.Join(held, ", ")))
	}
	return strings.Join(all, "; "), nil
}

// ReleaseGuard is an operator's word that the nodes and daemons which the mass
// guard holds now are gone: their silences go on as if each were alone, and
// what they ran is started elsewhere in the usual pace. It holds for these
// silences: one that is heard meanwhile, or falls silent later, is guarded
// anew; so is everything after a start of the broadcaster. It returns the
// nodes that were held, by name; none if nothing was.
func (c *Collector) ReleaseGuard(ctx context.Context) ([]placement.NodeID, error) {
	records, err := c.ledger.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	s := c.snapshot(records)
	g := c.cfg.Times.guard(s)
	freed := []placement.NodeID{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range s.Nodes {
		n := c.known(h.Node)
		free := g.nodes[h.Node]
		n.freed = n.freed || free
		for _, d := range h.Daemons {
			if known := n.daemons[d.Owner]; known != nil && g.owners[d.Owner] {
				known.freed, free = true, true
			}
		}
		if free {
			freed = append(freed, h.Node)
		}
	}
	if len(freed) > 0 {
		c.cfg.Logger.Warn("the mass guard is released by an operator", "nodes", freed, "by", placement.Actor(ctx))
	}
	return freed, nil
}
