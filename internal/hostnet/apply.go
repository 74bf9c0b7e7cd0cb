package hostnet

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

const (
	// assertEvery is how long jumps that were seen in place are trusted. Others
	// put theirs first, too: a system dockerd does when it starts.
	assertEvery = 10 * time.Second
	// applyTries bounds how often a write is tried again whose jumps were moved
	// by others between reading and writing.
	applyTries = 3
)

// Run puts the host's rules right every 10 s, in case that somebody flushed
// them or put theirs first, until ctx ends; then it returns nil. Without it they are
// put right by the first change that is made after 10 s.
func (n *Net) Run(ctx context.Context) error {
	// A phase that differs between nodes, without randomness of its own.
	phase := time.Duration(seedOf(n.names.cluster, string(n.names.node))) % assertEvery
	timer := time.NewTimer(phase)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(assertEvery)
		}
		if err := n.Repair(ctx); err != nil && ctx.Err() == nil {
			n.logger.Warn("the host's rules could not be put right", "node", n.names.node, "err", err)
		}
	}
}

// Repair puts the host's rules right at once: all of this node's chains and the
// jumps to them. Where they are right it only reads. A node without owners has
// no rules.
func (n *Net) Repair(ctx context.Context) error {
	n.mu.Lock()
	idle := n.idle()
	n.asserted = time.Time{}
	n.mu.Unlock()
	if idle {
		return nil
	}
	return n.apply(ctx)
}

// idle tells whether nothing is wanted on the host, and nothing is there. Call
// it with mu held.
func (n *Net) idle() bool {
	for _, r := range n.records {
		if r.Removed == 0 {
			return false
		}
	}
	return !n.present && len(n.exposed) == 0
}

// apply makes the host's rules follow at least what is wanted now. Of many
// callers at once the first writes for all that came before it began, the
// second for all the others.
func (n *Net) apply(ctx context.Context) error {
	n.mu.Lock()
	goal := n.want
	n.mu.Unlock()
	if err := n.rules.take(ctx); err != nil {
		return err
	}
	defer n.rules.leave()
	n.mu.Lock()
	if n.fresh() && n.have >= goal {
		n.mu.Unlock()
		return nil
	}
	if !n.fresh() {
		n.written = nil
	}
	w, version := n.wanted(), n.want
	n.present = true
	n.mu.Unlock()
	seen, err := w.write(ctx, n.written)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.written, n.asserted = nil, time.Time{}
		return err
	}
	n.written, n.have = w.ruleset(), version
	if seen {
		n.asserted = time.Now()
	}
	return nil
}

// fresh tells whether the jumps were seen in place lately. Call it with mu held.
func (n *Net) fresh() bool {
	return !n.asserted.IsZero() && time.Since(n.asserted) < assertEvery
}

// wanted is a copy of what is wanted. Call it with mu held.
func (n *Net) wanted() wanted {
	w := wanted{names: n.names}
	for owner, r := range n.records {
		if r.Removed == 0 {
			w.users = append(w.users, userNet{bridge: n.names.bridge(owner), subnet: r.Subnet})
		}
	}
	slices.SortFunc(w.users, func(a, b userNet) int { return cmp.Compare(a.bridge, b.bridge) })
	w.rules = slices.SortedFunc(maps.Values(n.exposed), func(a, b Rule) int { return cmp.Compare(a.Key, b.Key) })
	return w
}

// write changes the host. What was written lately is trusted to be there still;
// nil, or a failure, means to look at the host first. seen tells whether it was
// looked at, jumps included.
func (w wanted) write(ctx context.Context, written ruleset) (seen bool, err error) {
	if written != nil {
		if err := restore(ctx, w.restore(written, false)); err == nil || ctx.Err() != nil {
			return false, err
		}
	}
	for range applyTries {
		var now ruleset
		if now, err = save(ctx); err != nil {
			return false, err
		}
		if err = restore(ctx, w.restore(now, true)); err == nil || ctx.Err() != nil {
			return true, err
		}
	}
	return true, err
}
