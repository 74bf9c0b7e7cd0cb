package retryq

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// Register takes the word of agentd, at each of its starts and with each start
// of the ledger. The mark it shows may prove that the ledger was rolled back:
// then the ledger first begins a new generation and holds. The session given
// is above the node's last and the one shown; whatever was said under an older
// one proves nothing any more. A node given up is taken back.
func (l *Ledger) Register(ctx context.Context, r placement.Register) (placement.Registered, error) {
	if err := placement.CheckName("node", string(r.Node)); err != nil {
		return placement.Registered{}, err
	}
	if r.V > placement.Format {
		return placement.Registered{}, invalidNode(r.Node, "it speaks format %d, this broadcaster knows %d", r.V, placement.Format)
	}
	if r.Cluster != "" {
		if err := l.wrongCluster(r.Cluster); err != nil {
			return placement.Registered{}, err
		}
	}
	ctx = placement.ActAs(ctx, placement.RoleAgent+"/"+string(r.Node))
	if err := l.checkHistory(ctx, r); err != nil {
		return placement.Registered{}, err
	}
	var session uint64
	var mark placement.Mark
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev := l.nodeRecord(r.Node)
		session = max(rec.Session, r.Session) + 1
		rec.Session, rec.Mark, rec.Address, rec.GivenUp = session, r.Mark, r.Address, false
		rec.Reported = maps.Clone(r.Labels)
		c.putNode(rec, rev)
		c.after = func(m *memory, _ time.Time) {
			n := m.node(r.Node)
			n.registered = true
			n.lostFor = nil
			mark = l.mark()
		}
		return c, nil
	})
	if err != nil {
		return placement.Registered{}, err
	}
	return placement.Registered{Mark: mark, Cluster: l.Cluster(), Session: session}, nil
}

func invalidNode(node placement.NodeID, format string, args ...any) error {
	return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("node %s cannot be taken in", node), Why: fmt.Sprintf(format, args...), Next: "install the same version of Longshore everywhere"}
}

// nodeRecord returns a node's record; a new one if it is not known.
func (l *Ledger) nodeRecord(node placement.NodeID) (rule.Node, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.mem.nodes[node]
	if n == nil || n.rev == 0 {
		return rule.Node{V: placement.Format, NodeRecord: placement.NodeRecord{Node: node}}, 0
	}
	return n.rec, n.rev
}

// checkHistory begins a new generation if the shown mark proves that this
// ledger lost a part of its history.
func (l *Ledger) checkHistory(ctx context.Context, r placement.Register) error {
	select {
	case l.restarts <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.restarts }()
	l.mu.Lock()
	why, rolledBack := l.mem.meta.RolledBack(l.mem.rev, r.Mark)
	l.mu.Unlock()
	if !rolledBack {
		return nil
	}
	l.log.Error("the ledger was rolled back: new generation, holding until the nodes have spoken", "node", r.Node, "proof", why)
	// The caller may go away; a generation begun is carried through.
	if err := l.restart(context.WithoutCancel(ctx), r.Mark, true); err != nil {
		return fmt.Errorf("begin a new generation: %w", err)
	}
	return nil
}

// OpenLink numbers a connection of hostinfod: the newest one's reports count.
func (l *Ledger) OpenLink(ctx context.Context, cluster string, node placement.NodeID) (placement.Link, error) {
	if err := placement.CheckName("node", string(node)); err != nil {
		return placement.Link{}, err
	}
	if cluster != "" {
		if err := l.wrongCluster(cluster); err != nil {
			return placement.Link{}, err
		}
	}
	ctx = placement.ActAs(ctx, placement.RoleHostinfo+"/"+string(node))
	var link uint64
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev := l.nodeRecord(node)
		rec.Link++
		link = rec.Link
		c.putNode(rec, rev)
		return c, nil
	})
	if err != nil {
		return placement.Link{}, err
	}
	return placement.Link{Mark: l.Mark(), Cluster: l.Cluster(), Link: link}, nil
}

// Nodes lists the nodes that registered once, by name.
func (l *Ledger) Nodes(_ context.Context) ([]placement.NodeRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var nodes []placement.NodeRecord
	for _, id := range sortedKeys(l.mem.nodes) {
		if n := l.mem.nodes[id]; n.rec.Session > 0 {
			nodes = append(nodes, copyNode(n.rec.NodeRecord))
		}
	}
	return nodes, nil
}

func copyNode(n placement.NodeRecord) placement.NodeRecord {
	n.Labels, n.Reported = maps.Clone(n.Labels), maps.Clone(n.Reported)
	return n
}

// ChangeNode carries out an operator's word about a node: labels, draining,
// giving up. A node that is drained takes no new work, and Run replaces what is
// bound on it and not pinned to it by new lives elsewhere, as a changed request
// would be rolled out: stop-first, of each service one after the other. What a node held that is given up is put back before this returns.
// NotFound if the node never registered.
func (l *Ledger) ChangeNode(ctx context.Context, ch placement.NodeChange) (placement.NodeRecord, error) {
	for name := range ch.Labels {
		if name == "" || name == "node" || strings.ContainsAny(name, " =/") {
			return placement.NodeRecord{}, &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("%q cannot be a label of a node", name), Why: "a label is NAME=VALUE; node is the node itself", Next: "for example zone=a"}
		}
	}
	var changed placement.NodeRecord
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev := l.nodeRecord(ch.Node)
		if rec.Session == 0 {
			return nil, &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("there is no node %s", ch.Node), Next: "schedctl node ls lists them"}
		}
		rec.NodeRecord = copyNode(rec.NodeRecord)
		applyNodeChange(&rec.NodeRecord, ch)
		changed = copyNode(rec.NodeRecord)
		c.putNode(rec, rev)
		c.after = func(m *memory, _ time.Time) {
			for id := range m.node(ch.Node).bound {
				l.rollApp(id) // if the node is drained, all that may move does
			}
			if rec.GivenUp { // until it registers again, its words prove nothing
				m.node(ch.Node).registered = false
			}
		}
		return c, nil
	})
	if err != nil || !changed.GivenUp {
		return changed, err
	}
	return changed, l.giveUp(ctx, ch.Node)
}

func applyNodeChange(n *placement.NodeRecord, ch placement.NodeChange) {
	if n.Labels == nil {
		n.Labels = make(map[string]string)
	}
	for name, value := range ch.Labels {
		if value == "" {
			delete(n.Labels, name)
		} else {
			n.Labels[name] = value
		}
	}
	if ch.Drain != nil {
		n.Draining = *ch.Drain
	}
	if ch.GiveUp != nil {
		n.GivenUp = *ch.GiveUp
	}
}

// Unknown lists a node's quarantined copies: of placements that the ledger does
// not know. They are shown and never stopped.
func (l *Ledger) Unknown(node placement.NodeID) []placement.Unknown {
	l.mu.Lock()
	var copies []placement.Copy
	if n := l.mem.nodes[node]; n != nil {
		copies = n.unknown
	}
	l.mu.Unlock()
	return l.quarantined(copies)
}

// quarantined are those of the copies that are still unknown, and why.
func (l *Ledger) quarantined(copies []placement.Copy) []placement.Unknown {
	l.mu.Lock()
	defer l.mu.Unlock()
	var unknown []placement.Unknown
	for _, c := range copies {
		if l.mem.places[c.ID] == nil {
			unknown = append(unknown, placement.Unknown{ID: c.ID, Why: l.whyUnknown(c.ID)})
		}
	}
	return unknown
}
