package hostnet

import (
	"context"
	"fmt"

	"longshore/internal/placement"
)

// Sweep removes every bridge, chain and rule of one (cluster, node), found by
// their names and aliases: it needs no record and no running node. The record
// of subnets stays. Nothing left is swept already.
func Sweep(ctx context.Context, cluster string, node placement.NodeID) error {
	names, err := newNames(cluster, node)
	if err != nil {
		return err
	}
	if err := names.sweepRules(ctx); err != nil {
		return fmt.Errorf("sweep the networks of %s: %w", node, err)
	}
	links, err := bridgesOf(names.bridges(), names.aliasPrefix())
	if err != nil {
		return fmt.Errorf("sweep the networks of %s: %w", node, err)
	}
	for _, link := range links {
		if err := deleteLink(link); err != nil {
			return fmt.Errorf("sweep the networks of %s: %w", node, err)
		}
	}
	return nil
}

// sweepRules removes jumps and chains.
func (n names) sweepRules(ctx context.Context) (err error) {
	for range applyTries {
		var now ruleset
		if now, err = save(ctx); err != nil {
			return err
		}
		input := n.sweep(now)
		if input == "" {
			return nil
		}
		if err = restore(ctx, input); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Sweep removes everything of this node, as the function of that name does; n
// can be used on, from the beginning.
func (n *Net) Sweep(ctx context.Context) error {
	if err := n.users.take(ctx); err != nil {
		return err
	}
	defer n.users.leave()
	if err := n.rules.take(ctx); err != nil {
		return err
	}
	defer n.rules.leave()
	n.forgetAll()
	return Sweep(ctx, n.names.cluster, n.names.node)
}
