package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"longshore/broadcaster"
	"longshore/hostinfo"
	"longshore/internal/images"
	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/boltstore"
	"longshore/retryq/memstore"
	"longshore/rpc"
)

// BroadcasterConfig says where a broadcaster lives and listens.
type BroadcasterConfig struct {
	Security
	DataDir   string   // durable: the ledger and the images
	RunDir    string   // of its unix sockets, made and locked; "": the caller sees to that
	CADir     string   // the list of what is revoked, and the authority, if it is to renew certificates here
	Listen    []string // addresses of nodes and clients, "tls://0.0.0.0:7700", "ipc:///run/longshore/broadcaster.sock"
	Registry  string   // host:port of the image registry; without TLS on loopback
	Ephemeral bool     // keep the ledger in memory: a restart forgets all
	// NewGeneration is the operator's word that the ledger was restored: what
	// the nodes run then decides.
	NewGeneration bool
	// Rebuild is the ID of the cluster whose ledger was lost: it is made anew of
	// what the nodes run. Nodes is how many there are; 0: not known.
	Rebuild string
	Nodes   int
	Logger  *slog.Logger
}

// Addresses is where a broadcaster that is ready listens.
type Addresses struct {
	Listen   []string // in the order of the configuration, with real ports
	Registry string   // "http://host:port", "https://host:port", or "https://:port" of every address
	Cluster  string   // the ledger's ID
}

// Run runs the broadcaster until ctx ends. ready is called once it listens.
func (c BroadcasterConfig) Run(ctx context.Context, ready func(Addresses)) (err error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	release, err := c.hold()
	if err != nil {
		return err
	}
	defer release()
	if err := c.Open(placement.RoleBroadcaster, c.Logger); err != nil {
		return err
	}
	store, err := c.openStore()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	cluster, err := c.clusterID()
	if err != nil {
		return err
	}
	office, err := newDispatch(ctx, "broadcaster", broadcasterGrants(), c.Logger, "submit", "run", "start", "retry")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, office.Close(ctx)) }()
	agents := broadcaster.NewAgents(c.Logger)
	ledger, err := retryq.Open(ctx, retryq.Config{
		Store: store, Requests: agents, Logger: c.Logger, Rand: newRand(), Trace: office.tracer,
		Cluster: cluster, NewGeneration: c.NewGeneration, Rebuild: c.Rebuild != "", Nodes: c.Nodes,
	})
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	registry, err := images.OpenRegistry(ctx, filepath.Join(c.DataDir, "images"), images.Options{Logger: c.Logger, Allow: mayUseImages(c.store)})
	if err != nil {
		return fmt.Errorf("open the image registry: %w", err)
	}
	return c.run(ctx, office, ledger, store, agents, registry, ready)
}

// hold makes sure that no other broadcaster works in the same directories.
func (c BroadcasterConfig) hold() (release func(), err error) {
	data, err := hold(filepath.Join(c.DataDir, "lock"))
	if err != nil || c.RunDir == "" {
		return data, err
	}
	if err = makeRunDir(c.RunDir); err == nil {
		var run func()
		if run, err = hold(filepath.Join(c.RunDir, "broadcaster.lock")); err == nil {
			return func() { run(); data() }, nil
		}
	}
	data()
	return nil, err
}

// clusterID is the cluster that the certificate is of: the ledger must be of
// the same, and a new one becomes it. Without a certificate the ledger says, or
// the operator who has it made anew.
func (c BroadcasterConfig) clusterID() (string, error) {
	if c.store == nil {
		return c.Rebuild, nil
	}
	id := c.store.Identity().Cluster
	if c.Rebuild != "" && c.Rebuild != id {
		return "", &placement.Error{Kind: placement.KindInvalid, What: "the ledger of cluster " + c.Rebuild + " cannot be made anew here", Why: "the certificate is of cluster " + id, Next: "give that cluster's certificate"}
	}
	return id, nil
}

func (c BroadcasterConfig) openStore() (retryq.Store, error) {
	if c.Ephemeral {
		return memstore.New(), nil
	}
	store, err := boltstore.Open(filepath.Join(c.DataDir, "ledger.db"), boltstore.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the ledger's file: %w", err)
	}
	return store, nil
}

// disk is the space where the ledger is.
func (c BroadcasterConfig) disk() (broadcaster.Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(c.DataDir, &s); err != nil {
		return broadcaster.Disk{}, err
	}
	return broadcaster.Disk{Free: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize}, nil
}

// run joins ledger, collector, sweeper and broadcaster, and serves them.
func (c BroadcasterConfig) run(ctx context.Context, office *dispatch, ledger *retryq.Ledger, store retryq.Store, agents *broadcaster.Agents, registry *images.Registry, ready func(Addresses)) error {
	shelf, told, err := listenImages(ctx, c.Registry, c.store)
	if err != nil {
		return fmt.Errorf("listen for images: %w", err)
	}
	defer shelf.Close()
	revoked, err := newRevocation(c.CADir, c.store, c.Logger)
	if err != nil {
		return err
	}
	methods, parts, err := c.join(office, ledger, store, agents, registry, told)
	if err != nil {
		return err
	}
	parts = append(parts, revoked.Run, func(ctx context.Context) error { return serveHTTP(ctx, shelf, registry, c.Logger) })
	if c.RunDir != "" {
		near, err := listenImageSocket(ctx, c.RunDir, c.group)
		if err != nil {
			return fmt.Errorf("listen for images of this machine: %w", err)
		}
		defer near.Close()
		parts = append(parts, func(ctx context.Context) error { return serveHTTP(ctx, near, registry, c.Logger) })
	}

	g, ctx := errgroup.WithContext(ctx)
	transport := c.transport(c.Logger)
	addresses := Addresses{Registry: told, Cluster: ledger.Cluster()}
	for _, addr := range c.Listen {
		l, err := transport.Listen(ctx, addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", addr, err)
		}
		defer l.Close()
		addresses.Listen = append(addresses.Listen, l.Addr())
		parts = append(parts, func(ctx context.Context) error {
			cfg := office.config("broadcaster", methods, broadcaster.Actors)
			cfg.Invoke, cfg.OnLink = append(cfg.Invoke, broadcaster.TellCaller), revoked.onLink
			return rpc.Serve(ctx, l, cfg)
		})
	}
	for _, part := range parts {
		g.Go(func() error { return part(ctx) })
	}
	ready(addresses)
	return unlessEnded(ctx, g.Wait())
}

// join makes the parts that know of each other: what they serve, and what of
// them runs.
func (c BroadcasterConfig) join(office *dispatch, ledger *retryq.Ledger, store retryq.Store, agents *broadcaster.Agents, registry *images.Registry, shelf string) (rpc.Methods, []func(context.Context) error, error) {
	key, err := authority(c.CADir)
	if err != nil {
		return nil, nil, err
	}
	collector, err := hostinfo.NewCollector(hostinfo.CollectorConfig{Cluster: ledger.Cluster(), Logger: c.Logger}, ledger, agents)
	if err != nil {
		return nil, nil, err
	}
	certificates := issuer{authority: key, nodes: collector, logger: c.Logger}
	sweeper, err := hostinfo.NewSweeper(hostinfo.SweeperConfig{Logger: c.Logger, Rand: newRand()}, collector, ledger, hostinfo.TCPProber{})
	if err != nil {
		return nil, nil, err
	}
	backups, _ := store.(broadcaster.Backups) // one in memory has none
	caster, err := broadcaster.New(broadcaster.Config{Registry: shelf, Disk: c.disk, Alarm: c.alarm, Logger: c.Logger, Rand: newRand(), Trace: office.tracer}, broadcaster.Deps{
		Queue: ledger, Apps: ledger, Wishes: ledger, Records: ledger, Log: ledger, Backups: backups, View: collector, Images: resolver{registry}, Agents: agents,
	})
	if err != nil {
		return nil, nil, err
	}
	methods := rpc.Methods{}
	for _, table := range []rpc.Methods{caster.ClientMethods(), caster.NodeMethods(), collector.Methods(), certificates.methods()} {
		maps.Copy(methods, table)
	}
	renew := func(ctx context.Context) error { return c.renew(ctx, certificates.renewOwn(c.store)) }
	return methods, []func(context.Context) error{ledger.Run, collector.Run, sweeper.Run, caster.Run, renew}, nil
}

// serveHTTP serves until ctx ends, then gives requests in flight a second.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // of strangers
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(bounded) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// unlessEnded drops the errors by which parts say that ctx ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err()) || errors.Is(err, rpc.ErrClosed)) {
		return nil
	}
	return err
}
