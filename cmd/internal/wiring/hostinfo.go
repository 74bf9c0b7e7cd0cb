package wiring

import (
	"context"

	"golang.org/x/sync/errgroup"

	"longshore/hostinfo"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

// RunHostinfo runs the node's hostinfo until ctx ends. ready is called once it
// serves its socket.
func (c *NodeConfig) RunHostinfo(ctx context.Context, ready func()) error {
	own := *c // its certificate is not the other process's
	c = &own
	capacity, err := c.capacity(ctx)
	if err != nil {
		return err
	}
	release, err := c.open(placement.RoleHostinfo)
	if err != nil {
		return err
	}
	defer release()
	cluster, err := c.cluster(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	watcher, err := hostinfo.NewWatcher(hostinfo.WatcherConfig{
		Cluster: cluster, Node: c.Node, OpDir: c.RunDir, Capacity: capacity, Alarm: c.alarm, Logger: c.Logger, Rand: newRand(),
	}, hostinfo.Docker(dockerd.Observe(c.dockerd(cluster, ""))), hostinfo.NewMachine(c.StateDir))
	if err != nil {
		return err
	}
	transport := c.transport(c.Logger)
	local, err := c.listenLocal(ctx, transport, "hostinfo.sock")
	if err != nil {
		return err
	}
	link := rpc.Config{Identity: string(c.Node), Methods: watcher.Methods(), Logger: c.Logger, Rand: newRand(), Allow: nodeGrants().allow}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watcher.Run(ctx) })
	g.Go(func() error { return rpc.Keep(ctx, transport, c.Broadcaster, link, watcher.Up) })
	g.Go(func() error { return c.renew(ctx, askRenewal(transport, c.Broadcaster)) })
	g.Go(func() error { return c.serveLocal(ctx, local, link) })
	ready()
	return unlessEnded(ctx, g.Wait())
}
