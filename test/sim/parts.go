package sim

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/agent"
	"longshore/broadcaster"
	"longshore/hostinfo"
	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/rpc"
)

const serverAddr = "b1"

// inner is what the judge may see of an agent that runs.
type inner struct{ agent *agent.Agent }

// startServer begins broadcasterd on the disk as it is.
func (w *world) startServer() {
	if w.server.lives(w.startServer) {
		return
	}
	store := w.disk.store
	w.server = w.spawn(w.serverHost, "broadcasterd", func(p *process) error {
		return w.serve(p, broken[retryq.Store](w.cfg.Defect.Store, file{d: w.disk, p: p, store: store}))
	})
}

// serve is the wiring of broadcasterd.
func (w *world) serve(p *process, store retryq.Store) error {
	agents := broadcaster.NewAgents(w.logger)
	ledger, err := retryq.Open(p.ctx, retryq.Config{Store: store, Requests: agents, Logger: w.logger, Rand: p.dice("ledger")})
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	if !p.act("opened", func() { w.ledger = ledger }) {
		return errKilled
	}
	collector, err := hostinfo.NewCollector(hostinfo.CollectorConfig{Cluster: ledger.Cluster(), Logger: w.logger}, ledger, broken[hostinfo.Orders](w.cfg.Defect.Orders, agents))
	if err != nil {
		return err
	}
	sweeper, err := hostinfo.NewSweeper(hostinfo.SweeperConfig{Logger: w.logger, Rand: p.dice("sweeper")}, collector, ledger, prober{w, p})
	if err != nil {
		return err
	}
	caster, err := broadcaster.New(broadcaster.Config{Registry: "http://registry", Logger: w.logger, Rand: p.dice("caster")}, broadcaster.Deps{
		Queue: ledger, Apps: ledger, Wishes: ledger, Log: ledger, Records: broken[broadcaster.Records](w.cfg.Defect.Records, ledger), View: collector, Images: tags{}, Agents: agents,
	})
	if err != nil {
		return err
	}
	methods := rpc.Methods{}
	for _, table := range []rpc.Methods{caster.ClientMethods(), caster.NodeMethods(), collector.Methods()} {
		maps.Copy(methods, table)
	}
	l, err := port{w.net, p}.Listen(p.ctx, serverAddr)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(p.ctx)
	g.Go(func() error {
		return rpc.Serve(ctx, l, rpc.Config{Identity: "broadcaster", Methods: methods, Logger: w.logger})
	})
	g.Go(func() error { return ledger.Run(ctx) })
	g.Go(func() error { return collector.Run(ctx) })
	g.Go(func() error { return sweeper.Run(ctx) })
	g.Go(func() error { return caster.Run(ctx) })
	return g.Wait()
}

// startAgent begins the node's agentd. It reaches its directories through a
// name of its own, which is taken away when it is killed.
func (n *node) startAgent() {
	w := n.w
	if n.host.down || n.agentd.lives(n.startAgent) {
		return
	}
	n.agentd = w.spawn(n.host, "agentd", func(p *process) error {
		dir := n.door(p)
		if err := os.Symlink(filepath.Join(n.dir, "real"), dir); err != nil {
			return err
		}
		remote := agent.NewRemote(port{w.net, p}, serverAddr, rpc.Config{Logger: w.logger, Rand: p.dice("link")})
		h := hands{n.docker, p}
		a, err := agent.New(agent.Config{
			Node: n.id, Address: string(n.id), StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
			Labels: map[string]string{"arch": "sim"}, Capacity: n.capacity, MaxStarts: 8,
		}, agent.Deps{
			Runtime: broken[agent.Runtime](w.cfg.Defect.Runtime, h), Eyes: h, Ports: ports{}, Claims: claims{w.redis, p},
			Broadcaster: remote, Logger: w.logger, Rand: p.dice("agent"),
		})
		if err != nil {
			return err
		}
		if !p.act("made", func() { n.inner = &inner{a} }) {
			return errKilled
		}
		methods := a.Methods()
		maps.Copy(methods, a.LinkMethods())
		return remote.Run(p.ctx, a, methods)
	})
}

// door is the name by which a run of agentd knows its directories.
func (n *node) door(p *process) string { return filepath.Join(n.dir, filepath.Base(p.name)) }

// killAgent ends agentd at once: its files are out of its reach.
func (n *node) killAgent() {
	p := n.agentd
	if p == nil || p.over() {
		return
	}
	os.Remove(n.door(p)) // before it can notice
	p.kill()
	os.Remove(filepath.Join(n.dir, "real/state/lock")) // the kernel gives the lock back
}

// startHostinfo begins the node's hostinfod.
func (n *node) startHostinfo() {
	w := n.w
	if n.host.down || n.hostinfod.lives(n.startHostinfo) {
		return
	}
	n.hostinfod = w.spawn(n.host, "hostinfod", func(p *process) error {
		watcher, err := hostinfo.NewWatcher(hostinfo.WatcherConfig{
			Node: n.id, OpDir: filepath.Join(n.dir, "real/run"), Capacity: n.capacity, Logger: w.logger, Rand: p.dice("watcher"),
		}, hostinfo.Docker(watching{hands{n.docker, p}}), machine{n})
		if err != nil {
			return err
		}
		link := rpc.Config{Identity: string(n.id), Methods: watcher.Methods(), Logger: w.logger, Rand: p.dice("link")}
		g, ctx := errgroup.WithContext(p.ctx)
		g.Go(func() error { return watcher.Run(ctx) })
		g.Go(func() error { return rpc.Keep(ctx, port{w.net, p}, serverAddr, link, watcher.Up) })
		return g.Wait()
	})
}

// broken is a part with a defect in it, if there is one.
func broken[T any](defect func(T) T, part T) T {
	if defect == nil {
		return part
	}
	return defect(part)
}

// machine tells the figures of a node.
type machine struct{ n *node }

func (m machine) Figures(context.Context) (hostinfo.Figures, error) {
	c := m.n.capacity
	return hostinfo.Figures{Cores: int(c.CPU / 1000), Memory: c.Memory, MemoryAvailable: c.Memory, Disk: c.Disk, DiskFree: c.Disk}, nil
}

// prober asks whether a host lives.
type prober struct {
	w *world
	p *process
}

// Answers is true if packets go to the host and back.
func (pr prober) Answers(ctx context.Context, address string) bool {
	ctx, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer stop()
	ok, err := call(ctx, pr.p, time.Millisecond, "probe"+address, func(done func(bool, error)) {
		n := pr.w.find(placement.NodeID(address))
		if n != nil && !n.host.down && !pr.w.net.cutOff(n.host, pr.w.serverHost) {
			done(true, nil)
		}
	})
	return err == nil && ok
}

// tags is the registry: each reference is its own digest.
type tags struct{}

func (tags) Resolve(_ context.Context, _, ref string) (string, []uint16, error) { return ref, nil, nil }

// ports publishes nothing.
type ports struct{}

func (ports) Expose(context.Context, placement.ID, []placement.Port) error    { return nil }
func (ports) Withdraw(context.Context, placement.ID) error                    { return nil }
func (ports) Keep(context.Context, []placement.ID) error                      { return nil }
func (ports) WithdrawOne(context.Context, placement.ID, placement.Port) error { return nil }
