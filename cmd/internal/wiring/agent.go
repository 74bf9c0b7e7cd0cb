package wiring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"longshore/agent"
	"longshore/agent/console"
	"longshore/internal/claim"
	"longshore/internal/dockerd"
	"longshore/internal/hostnet"
	"longshore/internal/images"
	"longshore/internal/journal"
	"longshore/internal/placement"
	"longshore/rpc"
)

// RunAgent runs the node's agent until ctx ends; daemons and containers stay
// up. ready is called once it serves its socket.
func (c *NodeConfig) RunAgent(ctx context.Context, ready func()) error {
	own := *c // its certificate is not the other process's
	c = &own
	capacity, err := c.capacity(ctx)
	if err != nil {
		return err
	}
	release, err := c.open(placement.RoleAgent)
	if err != nil {
		return err
	}
	defer release()
	cluster, err := c.cluster(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	claims := c.Claims
	if claims == nil {
		table, err := c.claims(cluster)
		if err != nil {
			return err
		}
		defer func() { _ = table.Close() }() // claims expire by themselves
		claims = table
	}
	shelf, err := c.listenMirror(ctx)
	if err != nil {
		return fmt.Errorf("listen for the node's own image pulls: %w", err)
	}
	defer shelf.Close()
	mirror, err := images.NewMirror("", filepath.Join(c.StateDir, "images"), images.MirrorOptions{Logger: c.Logger, Client: c.client()})
	if err != nil {
		return err
	}
	defer mirror.Close()
	nets, err := hostnet.New(ctx, hostnet.Config{Cluster: cluster, Node: c.Node, StateDir: c.StateDir, Beside: c.Beside, Logger: c.Logger})
	if err != nil {
		return fmt.Errorf("read the node's networks: %w", err)
	}
	host := dockerd.New(c.dockerd(cluster, shelf.Addr().String()), network{nets})
	below := []func(context.Context) error{
		host.Run, nets.Run,
		func(ctx context.Context) error { return serveHTTP(ctx, shelf, mirror, c.Logger) },
		func(ctx context.Context) error { return c.findRegistry(ctx, mirror) },
	}
	return c.runAgent(ctx, agent.Config{
		Node: c.Node, Address: c.Address.String(), Labels: c.labels(), Cluster: cluster,
		StateDir: c.StateDir, RunDir: c.RunDir, Capacity: capacity,
	}, agent.Deps{
		Runtime: host, Eyes: host, Ports: ports{nets, host, c.Address}, Claims: claims,
		Logger: c.Logger, Rand: newRand(),
	}, host, below, ready)
}

// runAgent runs the agent over what is below it, and serves it on its link to
// the broadcaster and on the node's socket.
func (c *NodeConfig) runAgent(ctx context.Context, cfg agent.Config, deps agent.Deps, host *dockerd.Host, below []func(context.Context) error, ready func()) (err error) {
	transport := c.transport(c.Logger)
	office, err := newDispatch(ctx, "agent "+string(c.Node), nodeGrants(), c.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, office.Close(ctx)) }()
	keys, err := journal.Open(filepath.Join(c.StateDir, "once"), c.Logger)
	if err != nil {
		return err
	}
	if err := office.once.Keep(keys, "exec"); err != nil {
		return err
	}
	link := office.config(string(c.Node), nil, console.Relayed(nodeGrants().allow))
	link.Rand = newRand()
	remote := agent.NewRemote(transport, c.Broadcaster, link)
	remote.Alarm = c.alarm
	deps.Broadcaster = remote
	a, err := agent.New(cfg, deps)
	if err != nil {
		return err
	}
	methods := office.tracer.Methods()
	maps.Copy(methods, a.Methods())
	maps.Copy(methods, console.New(c.Node, console.Deps{Node: a, Ports: a, Ledger: remote, Insides: host, Sights: host}).Methods())
	onLink := maps.Clone(methods)
	maps.Copy(onLink, a.LinkMethods())
	local, err := c.listenLocal(ctx, transport, "agent.sock")
	if err != nil {
		return err
	}
	below = append(below, func(ctx context.Context) error { return c.renew(ctx, askRenewal(transport, c.Broadcaster)) })
	above := []func(context.Context) error{
		func(ctx context.Context) error { return remote.Run(ctx, a, onLink) },
		func(ctx context.Context) error {
			return c.serveLocal(ctx, local, office.config(string(c.Node), methods))
		},
	}
	return unlessEnded(ctx, runOver(ctx, below, above, ready))
}

// runOver runs what is above until ctx ends or any part fails, and what is
// below until all above has ended: an agent that undoes what it had in hand
// needs daemons and networks for it.
func runOver(ctx context.Context, below, above []func(context.Context) error, ready func()) error {
	outlive, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	floor, outlive := errgroup.WithContext(outlive)
	for _, run := range below {
		floor.Go(func() error { return run(outlive) })
	}
	live, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(outlive, stop)()
	house, live := errgroup.WithContext(live)
	for _, run := range above {
		house.Go(func() error { return run(live) })
	}
	ready()
	err := house.Wait()
	release()
	under := floor.Wait()
	if under != nil && !errors.Is(under, context.Canceled) {
		return under // it ended the others
	}
	return err
}

// findRegistry tells the mirror where the cluster's images are.
func (c *NodeConfig) findRegistry(ctx context.Context, mirror *images.Mirror) error {
	info, err := c.ask(ctx)
	if err != nil {
		return err
	}
	return mirror.Use(RegistryURL(c.Broadcaster, info.Registry))
}

// listenLocal makes a socket of the node, for people and scripts on it.
func (c *NodeConfig) listenLocal(ctx context.Context, t rpc.Transport, socket string) (rpc.Listener, error) {
	if err := makeRunDir(c.RunDir); err != nil {
		return nil, err
	}
	l, err := t.Listen(ctx, "ipc://"+filepath.Join(c.RunDir, socket))
	if err != nil {
		return nil, fmt.Errorf("listen on the node's socket: %w", err)
	}
	return l, nil
}

func (c *NodeConfig) serveLocal(ctx context.Context, l rpc.Listener, cfg rpc.Config) error {
	defer l.Close()
	return rpc.Serve(ctx, l, cfg)
}

// closer is a table of claims that holds connections.
type closer interface {
	agent.Claims
	Close() error
}

func (c *NodeConfig) claims(cluster string) (closer, error) {
	if c.Redis == "" {
		return noClaims{}, nil
	}
	return claim.NewRedis(claim.Config{URL: c.Redis, Cluster: cluster})
}

// listenMirror listens on the loopback, on the port of last time if it is
// still free, so that images keep their names.
func (c *NodeConfig) listenMirror(ctx context.Context) (net.Listener, error) {
	file := filepath.Join(c.StateDir, "mirror")
	var listen net.ListenConfig
	if last, err := os.ReadFile(file); err == nil {
		if l, err := listen.Listen(ctx, "tcp", strings.TrimSpace(string(last))); err == nil {
			return l, nil
		}
	}
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return l, os.WriteFile(file, []byte(l.Addr().String()+"\n"), 0o600)
}
