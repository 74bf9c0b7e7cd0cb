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

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"longshore/agent"
	"longshore/cmd/internal/wiring"
	"longshore/internal/claim"
	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

// devConfig is the command line of `schedctl dev`.
type devConfig struct {
	name      string
	count     int
	ephemeral bool
	pause     string
	level     slog.Level
}

func (a *app) dev() *cobra.Command {
	var cfg devConfig
	level := "warn"
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, until Ctrl-C",
		Long: `Dev runs a broadcaster and some nodes in one process. Each node has its own Docker
daemons and its own address on a bridge, so that each has all ports to itself.
Everything it made is removed when it ends, however it ends.

It needs root, dockerd and iptables; make setup installs them. The lock is kept
in a redis-server of its own, or in process where there is none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.level.UnmarshalText([]byte(level)); err != nil {
				return usage("--log-level debug, info, warn or error", "%v", err)
			}
			return a.runDev(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.name, "name", "default", "name of the cluster: several can be up at once")
	cmd.Flags().IntVar(&cfg.count, "nodes", 3, "how many nodes, 1 to 50")
	cmd.Flags().BoolVar(&cfg.ephemeral, "ephemeral", false, "keep the ledger in memory")
	cmd.Flags().StringVar(&cfg.pause, "pause", "", "program that keeps net containers alive (default: longshore-pause beside schedctl)")
	cmd.Flags().StringVar(&level, "log-level", level, "debug, info, warn or error")
	return cmd
}

// check refuses what cannot work, before anything is made.
func (cfg *devConfig) check() error {
	if err := placement.CheckName("cluster", cfg.name); err != nil {
		return err
	}
	if len(cfg.name) > 16 {
		return usage("choose a shorter --name", "the name %q has %d letters; sockets below it allow 16", cfg.name, len(cfg.name))
	}
	if cfg.count < 1 || cfg.count > 50 {
		return usage("choose --nodes 1 to 50", "%d nodes cannot be", cfg.count)
	}
	if os.Geteuid() != 0 {
		return &placement.Error{Kind: placement.KindRefused, What: "schedctl dev must be root", Why: "it starts Docker daemons, bridges and iptables rules", Next: "sudo schedctl dev"}
	}
	if cfg.pause == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cfg.pause = filepath.Join(filepath.Dir(self), "longshore-pause")
	}
	if _, err := os.Stat(cfg.pause); err != nil {
		return &placement.Error{Kind: placement.KindInvalid, What: "the program that keeps net containers alive is missing", Why: err.Error(), Next: "make build, or name it by --pause"}
	}
	return nil
}

func (a *app) runDev(ctx context.Context, cfg devConfig) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	paths := newDevPaths(cfg.name)
	lock, err := paths.lock(cfg.name)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := paths.remove(ctx); err != nil {
		return fmt.Errorf("remove what a former dev cluster left: %w", err)
	}
	janitor, err := startJanitor(cfg.name, lock, a.stdout, a.stderr)
	if err != nil {
		return err
	}
	dev := &dev{devConfig: cfg, paths: paths, app: a, began: time.Now()}
	dev.logger = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: cfg.level}))
	err = dev.run(ctx)
	dev.say("stopping: removing containers, daemons and networks")
	if cleaned := janitor.clean(); cleaned != nil {
		return errors.Join(err, cleaned)
	}
	dev.say("all gone")
	return err
}

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

func (d *dev) run(ctx context.Context) error {
	for _, dir := range []string{d.paths.state, d.paths.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	claims, err := d.claims(ctx, g)
	if err != nil {
		return err
	}
	up := make(chan wiring.Addresses, 1)
	g.Go(func() error {
		return wiring.BroadcasterConfig{
			DataDir: filepath.Join(d.paths.state, "broadcaster"), Ephemeral: d.ephemeral,
			Listen:   []string{"ipc://" + d.paths.socket(), "tcp://127.0.0.1:0"},
			Registry: "127.0.0.1:0", Logger: d.logger,
		}.Run(ctx, func(a wiring.Addresses) { up <- a })
	})
	select {
	case addresses := <-up:
		d.say("broadcaster listens on %s", strings.Join(addresses.Listen, " and "))
		if err := d.startNodes(ctx, g, addresses, claims); err != nil {
			return errors.Join(err, g.Wait())
		}
	case <-ctx.Done():
	}
	return g.Wait()
}

// claims starts a redis-server of the cluster's own, or keeps the locks in
// process where there is none.
func (d *dev) claims(ctx context.Context, g *errgroup.Group) (agent.Claims, error) {
	server, err := claim.StartServer(ctx, filepath.Join(d.paths.run, "redis"), d.logger)
	if errors.Is(err, claim.ErrNoServer) {
		d.say("no redis-server on this machine: locks are kept in process")
		return claim.NewTable(0)
	}
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	g.Go(func() error { return server.Run(ctx) })
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
		n.PausePath, n.Logger = d.pause, d.logger
		for j, other := range nodes {
			if j != i {
				n.Beside = append(n.Beside, other.StateDir)
			}
		}
		if n.Address, err = bridge.AddNodeAddress(ctx, n.Node); err != nil {
			return fmt.Errorf("give node %s an address: %w", n.Node, err)
		}
		g.Go(func() error { return n.RunAgent(ctx, claims, func() { ready <- struct{}{} }) })
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
