package wiring

import (
	"context"
	"errors"

	"longshore/internal/dockerd"
	"longshore/internal/hostnet"
)

// Destroy removes everything of the node from this machine: containers,
// daemons, bridges, rules, cgroups, and the daemons' state. It needs no running
// agent, and works on what a killed one left. Calling it again is harmless.
func (c *NodeConfig) Destroy(ctx context.Context, cluster string) error {
	cfg := c.dockerd(cluster, "")
	cfg.RemoveState = true
	return errors.Join(
		dockerd.New(cfg, nil).Destroy(ctx),
		hostnet.Sweep(ctx, cluster, c.Node),
	)
}
