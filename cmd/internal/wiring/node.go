package wiring

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"longshore/agent"
	"longshore/broadcaster"
	"longshore/hostinfo"
	"longshore/internal/dockerd"
	"longshore/internal/pki"
	"longshore/internal/placement"
	"longshore/rpc"
)

// NodeConfig says what a node is; its agent and its hostinfo are given the
// same.
type NodeConfig struct {
	Security
	Node        placement.NodeID
	Address     netip.Addr          // where its published ports listen
	Broadcaster string              // address to dial
	StateDir    string              // durable
	RunDir      string              // tmpfs
	Redis       string              // URL of the claims; "": no claims, the ledger's bind alone decides
	Claims      agent.Claims        // if not nil, used instead of Redis
	PausePath   string              // the static pause program
	Beside      []string            // state directories of other nodes on this machine
	Capacity    placement.Resources // 0: detected
	Accept      string              // ID of the cluster that the node is moved to, by the operator's word; "": it stays
	Logger      *slog.Logger
}

// DefineNode makes a daemon of a node, agentd or hostinfod, for [Main].
func DefineNode(run func(c *NodeConfig, ctx context.Context, ready func()) error) func(*flag.FlagSet) func(context.Context, *slog.Logger) error {
	return func(fs *flag.FlagSet) func(context.Context, *slog.Logger) error {
		var c NodeConfig
		c.Flags(fs)
		return func(ctx context.Context, logger *slog.Logger) error {
			c.Logger = logger
			if err := c.Complete(ctx); err != nil {
				return err
			}
			return run(&c, ctx, func() { Ready(logger) })
		}
	}
}

// Flags defines the command line of agentd and hostinfod.
func (c *NodeConfig) Flags(fs *flag.FlagSet) {
	c.Security.Flags(fs)
	fs.Func("node", "name of this node (default: the one in the certificate, else the host's name)", func(s string) error {
		c.Node = placement.NodeID(s)
		return placement.CheckName("node", s)
	})
	fs.Func("address", "this node's IP address, where published ports listen (default: the one that leads to the default route)", func(s string) (err error) {
		c.Address, err = netip.ParseAddr(s)
		return err
	})
	fs.StringVar(&c.Broadcaster, "broadcaster", "", "address of the broadcaster (default: tls://127.0.0.1:7700 with --tls-dir, else tcp://127.0.0.1:7700)")
	fs.StringVar(&c.StateDir, "state-dir", "/var/lib/longshore/node", "durable state")
	fs.StringVar(&c.RunDir, "run-dir", "/run/longshore/node", "sockets and what a reboot may forget (tmpfs)")
	fs.StringVar(&c.Redis, "redis", "", "Redis for the lock, such as redis://:secret@host:6379 or unix:///run/redis.sock (default: none; placing is slower, and as safe)")
	fs.StringVar(&c.Accept, "accept-cluster", "", "ID of another cluster that this node is moved to; it must be drained in its former one. Give it once, to agentd, then start hostinfod too")
	fs.StringVar(&c.PausePath, "pause", "/usr/local/lib/longshore/longshore-pause", "static program that keeps net containers alive")
	fs.Func("cpus", "cores to give away (default: detected)", func(s string) error {
		var cores float64
		_, err := fmt.Sscanf(s, "%g", &cores)
		c.Capacity.CPU = int64(cores * 1000)
		return err
	})
	fs.Func("memory", "memory to give away, such as 16g (default: detected)", func(s string) (err error) {
		c.Capacity.Memory, err = units.RAMInBytes(s)
		return err
	})
	fs.Func("disk", "disk to give away, such as 100g (default: detected)", func(s string) (err error) {
		c.Capacity.Disk, err = units.RAMInBytes(s)
		return err
	})
}

// Complete fills in what was left out, and says what cannot be.
func (c *NodeConfig) Complete(ctx context.Context) error {
	if err := c.completeName(); err != nil {
		return err
	}
	if c.Broadcaster == "" {
		c.Broadcaster = "tcp://127.0.0.1:7700"
		if c.TLSDir != "" {
			c.Broadcaster = "tls://127.0.0.1:7700"
		}
	}
	if !c.Address.IsValid() {
		address, err := defaultAddress(ctx)
		if err != nil {
			return &placement.Error{Kind: placement.KindInvalid, What: "the node's address is not known", Why: err.Error(), Next: "give --address"}
		}
		c.Address = address
	}
	return nil
}

// completeName takes the node's name from the certificate, or from the host.
func (c *NodeConfig) completeName() error {
	if c.Node == "" && c.TLSDir != "" {
		store, err := pki.Open(c.TLSDir)
		if err != nil {
			return err
		}
		c.Node = placement.NodeID(store.Identity().Name)
	}
	if c.Node == "" {
		hostname, _ := os.Hostname() // no name is refused just below
		short, _, _ := strings.Cut(hostname, ".")
		c.Node = placement.NodeID(short)
	}
	if err := placement.CheckName("node", string(c.Node)); err != nil {
		return &placement.Error{Kind: placement.KindInvalid, What: "the node has no name", Why: err.Error(), Next: "give --node"}
	}
	return nil
}

// open reads the certificate, which must be the node's in that role, and makes
// sure that no other process plays it here.
func (c *NodeConfig) open(role string) (release func(), err error) {
	if err := c.Open(role, c.Logger); err != nil {
		return nil, err
	}
	if c.store != nil && c.store.Identity().Name != string(c.Node) {
		return nil, &placement.Error{
			Kind: placement.KindInvalid, What: fmt.Sprintf("the certificate in %s is that of %s, and the node is %s", c.TLSDir, c.store.Identity(), c.Node),
			Next: fmt.Sprintf("leave --node out, or schedctl ca issue %s/%s --out DIR", role, c.Node),
		}
	}
	for _, dir := range []string{c.StateDir, c.RunDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	state, err := hold(filepath.Join(c.StateDir, role+".lock"))
	if err != nil {
		return nil, err
	}
	run, err := hold(filepath.Join(c.RunDir, role+".lock"))
	if err != nil {
		state()
		return nil, err
	}
	return func() { run(); state() }, nil
}

// defaultAddress is the address of this machine that leads outside. It sends
// nothing.
func defaultAddress(ctx context.Context) (netip.Addr, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", "192.0.2.1:9")
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	addr, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return addr.Addr(), err
}

// capacity is what the node may promise: as configured, else as detected.
func (c *NodeConfig) capacity(ctx context.Context) (placement.Resources, error) {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return placement.Resources{}, fmt.Errorf("make the state directory: %w", err)
	}
	figures, err := hostinfo.NewMachine(c.StateDir).Figures(ctx)
	if err != nil {
		return placement.Resources{}, err
	}
	total := figures.Total()
	return hostinfo.Capacity(c.Capacity, total, hostinfo.Reserve(total)), nil
}

// dockerd is the configuration of the node's daemons.
func (c *NodeConfig) dockerd(cluster, mirror string) dockerd.Config {
	return dockerd.Config{
		Cluster: cluster, Node: c.Node,
		StateDir: filepath.Join(c.StateDir, "docker"), RunDir: filepath.Join(c.RunDir, "d"),
		Mirror: mirror, PausePath: c.PausePath,
		Systemd: underSystemd(),
		Logger:  c.Logger, Rand: newRand(),
	}
}

func underSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// labels is what a node tells of itself.
func (c *NodeConfig) labels() map[string]string {
	l := map[string]string{"arch": runtime.GOARCH, "os": runtime.GOOS, "cgroup": "v1"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		l["cgroup"] = "v2"
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		l["kernel"] = unix.ByteSliceToString(name.Release[:])
	}
	return l
}

// cluster is the ID of the cluster that the node serves. A node that serves
// none yet asks the broadcaster until it answers.
func (c *NodeConfig) cluster(ctx context.Context) (string, error) {
	id, err := agent.Pinned(c.StateDir)
	if err != nil {
		return "", err
	}
	if c.Accept != "" && id != c.Accept {
		if err := c.leave(ctx, id); err != nil {
			return "", err
		}
		id = c.Accept
	}
	if c.store != nil {
		of := c.store.Identity().Cluster
		if id != "" && id != of {
			return "", &placement.Error{
				Kind: placement.KindRefused, What: fmt.Sprintf("the certificate in %s is of cluster %s, and this node serves %s", c.TLSDir, of, id),
				Next: "issue one of its own cluster, or start agentd once with --accept-cluster " + of + " to move the node",
			}
		}
		return of, nil
	}
	if id != "" {
		return id, nil
	}
	info, err := c.ask(ctx)
	return info.Cluster, err
}

// leave lets the node go from the cluster that it serves to the one that the
// operator accepts, unless a copy of the former one is here, or may be: that
// cluster could start another.
func (c *NodeConfig) leave(ctx context.Context, former string) error {
	if former == "" {
		return nil
	}
	refuse := func(why string) error {
		return &placement.Error{
			Kind: placement.KindRefused, What: fmt.Sprintf("this node cannot leave cluster %s yet", former), Why: why,
			Next: fmt.Sprintf("in that cluster: schedctl node drain %s --wait", c.Node),
		}
	}
	listing, err := hostinfo.Docker(dockerd.Observe(c.dockerd(former, ""))).List(ctx)
	if err != nil {
		return refuse(err.Error())
	}
	for _, copied := range listing.Copies {
		if copied.State != placement.CopyGone {
			return refuse(fmt.Sprintf("%s is here, %s", copied.ID, copied.State))
		}
	}
	for _, d := range listing.Daemons {
		if !d.OK {
			return refuse(fmt.Sprintf("the dockerd of %s does not say what it runs: %s", d.Owner, d.Err))
		}
	}
	c.Logger.Warn("the node is moved to another cluster by the operator's word", "from", former, "to", c.Accept)
	return agent.Accept(c.StateDir, c.Accept)
}

// ask asks the broadcaster who it is, until it answers.
func (c *NodeConfig) ask(ctx context.Context) (broadcaster.Info, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := c.askOnce(ctx); err == nil {
			return info, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return broadcaster.Info{}, ctx.Err()
		}
	}
}

func (c *NodeConfig) askOnce(ctx context.Context) (info broadcaster.Info, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	link, err := rpc.Dial(ctx, c.transport(c.Logger), c.Broadcaster, rpc.Config{})
	if err != nil {
		return info, err
	}
	defer link.Close()
	err = link.Call(ctx, "info", &info)
	return info, err
}

// newRand is a source of randomness for one part alone.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }
