package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/agent"
	"longshore/cmd/internal/wiring"
	"longshore/internal/claim"
	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

// dev is one cluster in one process.
type dev struct {
	devConfig
	*app
	paths  devPaths
	logger *slog.Logger
	began  time.Time
}

func (d *dev) say(format string, args ...any) {
	fmt.Fprintf(d.stdout, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// run runs the cluster until ctx ends, or something of it fails. The centre
// (locks and broadcaster) ends after the nodes, whose last words it hears.
func (d *dev) run(ctx context.Context) error {
	for _, dir := range []string{d.paths.state, d.paths.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	outlive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	centre, outlive := errgroup.WithContext(outlive)
	live, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(outlive, stop)() // no node without a centre

	err := d.runNodes(live, outlive, centre)
	end()
	err = errors.Join(centre.Wait(), err)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // all that failed is what Ctrl-C cut short
	}
	return err
}

// runNodes starts the centre, which ends with outlive, then runs the nodes
// until ctx ends.
func (d *dev) runNodes(ctx, outlive context.Context, centre *errgroup.Group) error {
	claims, err := d.claims(ctx, outlive, centre)
	if err != nil {
		return err
	}
	up := make(chan wiring.Addresses, 1)
	centre.Go(func() error {
		return wiring.BroadcasterConfig{
			DataDir: filepath.Join(d.paths.state, "broadcaster"), Ephemeral: d.ephemeral,
			Listen:   []string{"ipc://" + d.paths.socket(), "tcp://127.0.0.1:0"},
			Registry: "127.0.0.1:0", Logger: d.logger,
		}.Run(outlive, func(a wiring.Addresses) { up <- a })
	})
	select {
	case addresses := <-up:
		d.say("broadcaster listens on %s", strings.Join(addresses.Listen, " and "))
		nodes, ctx := errgroup.WithContext(ctx)
		nodes.Go(func() error { return d.startNodes(ctx, nodes, addresses, claims) })
		return nodes.Wait()
	case <-ctx.Done():
		return nil
	}
}

// claims starts a redis-server of the cluster's own, which ends with outlive,
// or keeps the locks in process where there is none.
func (d *dev) claims(ctx, outlive context.Context, centre *errgroup.Group) (agent.Claims, error) {
	server, err := claim.StartServer(ctx, filepath.Join(d.paths.run, "redis"), d.logger)
	if errors.Is(err, claim.ErrNoServer) {
		d.say("no redis-server on this machine: locks are kept in process")
		return claim.NewTable(0)
	}
	if err != nil {
		return nil, err
	}
	centre.Go(func() error { return server.Run(outlive) })
	d.say("redis-server keeps the locks on %s", server.URL())
	return claim.NewRedis(claim.Config{URL: server.URL(), Cluster: d.name})
}

// startNodes gives each node its address, and runs its agent and hostinfo.
func (d *dev) startNodes(ctx context.Context, g *errgroup.Group, addresses wiring.Addresses, claims agent.Claims) error {
	if err := os.WriteFile(d.paths.clusterFile(), []byte(addresses.Cluster+"\n"), 0o600); err != nil {
		return err
	}
	bridge, err := hostnet.EnsureCluster(ctx, hostnet.ClusterConfig{Cluster: addresses.Cluster, StateDir: d.paths.state, Logger: d.logger})
	if err != nil {
		return fmt.Errorf("make the bridge of the cluster: %w", err)
	}
	nodes := make([]wiring.NodeConfig, d.count)
	for i := range nodes {
		nodes[i] = d.paths.node(fmt.Sprintf("n%d", i+1))
	}
	ready := make(chan struct{}, 2*len(nodes))
	for i, n := range nodes {
		n.Broadcaster = addresses.Listen[1]
		n.PausePath, n.Logger, n.Claims = d.pause, d.logger, claims
		for j, other := range nodes {
			if j != i {
				n.Beside = append(n.Beside, other.StateDir)
			}
		}
		if n.Address, err = bridge.AddNodeAddress(ctx, n.Node); err != nil {
			return fmt.Errorf("give node %s an address: %w", n.Node, err)
		}
		g.Go(func() error { return n.RunAgent(ctx, func() { ready <- struct{}{} }) })
		g.Go(func() error { return n.RunHostinfo(ctx, func() { ready <- struct{}{} }) })
		d.say("node %s has the address %s", n.Node, n.Address)
	}
	for range cap(ready) {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	return d.announce(ctx, "ipc://"+d.paths.socket())
}

// announce waits until every node takes work, and says so.
func (d *dev) announce(ctx context.Context, endpoint string) error {
	client := *d.app
	client.endpoint = endpoint
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		nodes, err := client.nodes(ctx)
		taking := 0
		for _, n := range nodes {
			if n.State == placement.NodeReady && n.Agent && n.Hostinfo {
				taking++
			}
		}
		if err == nil && taking == d.count {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
	fmt.Fprintf(d.stdout, "ready: %s\n", endpoint)
	if d.name == "default" {
		d.say("try: schedctl node ls; Ctrl-C ends the cluster and removes everything of it")
	} else {
		d.say("try: schedctl --endpoint %s node ls; Ctrl-C ends the cluster and removes everything of it", endpoint)
	}
	return nil
}
