package hostinfo

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"longshore/internal/placement"
)

// Nodes is every node that ever registered, by name: where it is, how full,
// how well heard, and what is wrong with it. Only nodes that are ready should
// be offered new work.
func (c *Collector) Nodes(ctx context.Context) ([]placement.NodeStatus, error) {
	records, err := c.ledger.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	s := c.snapshot(records)
	verdicts := Decide(s, c.cfg.Times)
	nodes := make([]placement.NodeStatus, 0, len(verdicts))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, v := range verdicts {
		h := s.Nodes[i]
		status := placement.NodeStatus{
			Node: v.Node, State: v.State, Address: h.Address, Labels: h.allLabels(),
			Agent: h.Agent < c.cfg.Times.Soonest, Hostinfo: h.Hostinfo < c.cfg.Times.Soonest,
			Silent: placement.Millis(h.quiet().Milliseconds()), Alarms: v.Alarms,
		}
		if n := c.nodes[v.Node]; n != nil {
			status.Agent = status.Agent && !n.agent.IsZero()
			status.Hostinfo = status.Hostinfo && !n.hostinfo.IsZero()
			status.Room, status.Unknown = n.room, slices.Clone(n.unknown)
			for _, alarm := range n.alarms {
				if alarm != "" {
					status.Alarms = append(status.Alarms, alarm)
				}
			}
		} else {
			status.Agent, status.Hostinfo = false, false
		}
		nodes = append(nodes, status)
	}
	return nodes, nil
}

// allLabels are the node's own and the operator's, which win.
func (n Heard) allLabels() map[string]string {
	if len(n.Labels)+len(n.Reported) == 0 {
		return nil
	}
	labels := make(map[string]string, len(n.Labels)+len(n.Reported))
	maps.Copy(labels, n.Reported)
	maps.Copy(labels, n.Labels)
	return labels
}

// Copies is what the node's last complete listing showed.
func (c *Collector) Copies(name placement.NodeID) []placement.Copy {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[name]; n != nil {
		return slices.Clone(n.listing.Copies)
	}
	return nil
}
