package dockerd

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"longshore/internal/placement"
)

// Config says where the daemons of one node live. Only Cluster, Node, StateDir
// and RunDir are needed by [Observe] and [Host.Destroy]; [Host.Run] also needs
// PausePath.
type Config struct {
	Cluster  string           // the cluster's random ID
	Node     placement.NodeID // this node
	StateDir string           // durable, of this node alone; absolute
	RunDir   string           // tmpfs; may be shared by nodes of one machine; absolute, at most 43 bytes

	Mirror    string // host:port of the loopback registry that "owner/name@sha256:..." comes from
	PausePath string // the static pause program
	Dockerd   string // program; "" means "dockerd" in PATH

	CgroupFS string // where cgroup file systems are mounted; "" means /sys/fs/cgroup
	Systemd  bool   // systemd is pid 1: slices by Docker's systemd driver

	// Manager starts and stops daemons; nil means a new [Detached].
	Manager Manager
	// RemoveState tells Destroy to remove the data-roots too.
	RemoveState bool

	Logger *slog.Logger // nil discards
	Rand   *rand.Rand   // for backoff; nil is seeded by cluster and node
}

// Network is what a Host needs of the node's network. Both calls are
// idempotent.
type Network interface {
	// EnsureUser makes the owner's bridge, with its address and rules, and says
	// what it is. The answer for an owner never changes while containers exist.
	EnsureUser(ctx context.Context, owner string) (UserNet, error)
	// RemoveUser undoes EnsureUser; nothing there is no error.
	RemoveUser(ctx context.Context, owner string) error
}

// UserNet is one owner's bridge.
type UserNet struct {
	Bridge       string
	Subnet       netip.Prefix // /28 or larger, of the owner alone
	Gateway      netip.Addr   // the bridge's own address
	NetContainer netip.Addr   // fixed address of the shared net container
	// Idle is a bridge with an address for Docker's default network, on which
	// nothing is ever put; owners may share it. (Told to have no default network,
	// dockerd removes the machine's docker0, whosoever it is.)
	Idle string
}

// Check says what is wrong with c, for a person.
func (c Config) Check() error {
	invalid := func(what, why, next string) error {
		return &placement.Error{Kind: placement.KindInvalid, What: what, Why: why, Next: next}
	}
	if c.Cluster == "" {
		return invalid("the node's daemons have no cluster", "the cluster's ID is empty", "register with a broadcaster first")
	}
	if err := placement.CheckName("node", string(c.Node)); err != nil {
		return err
	}
	for _, d := range []struct{ what, dir string }{{"state", c.StateDir}, {"run", c.RunDir}} {
		if !filepath.IsAbs(d.dir) || strings.ContainsAny(d.dir, ",%\n ") {
			return invalid(fmt.Sprintf("%s directory %q cannot hold Docker daemons", d.what, d.dir),
				"it must be absolute and hold no space, comma, percent sign or newline", "choose another directory")
		}
	}
	if n := len(c.paths("x").exec); n > maxExecRoot {
		return invalid(fmt.Sprintf("run directory %q is too long", c.RunDir),
			fmt.Sprintf("containerd's socket below it would pass %d bytes by %d", maxExecRoot, n-maxExecRoot), "choose a shorter one")
	}
	return nil
}

// maxExecRoot leaves containerd room for "/containerd/containerd-debug.sock"
// within the 104 bytes it allows a socket's path.
const maxExecRoot = 71

// paths are the places of one owner's daemon.
type paths struct {
	id    string // ShortID of (cluster, node, owner)
	state string // StateDir/daemons/<id>
	root  string // data-root
	run   string // RunDir/<node id>/<id>
	exec  string // exec-root
	sock  string
	pid   string
}

func (c Config) nodeID() string { return ShortID(c.Cluster, string(c.Node)) }

func (c Config) daemonsDir() string { return filepath.Join(c.StateDir, "daemons") }

func (c Config) nodeRun() string { return filepath.Join(c.RunDir, c.nodeID()) }

func (c Config) paths(owner string) paths {
	id := ShortID(c.Cluster, string(c.Node), owner)
	return c.pathsOf(id)
}

func (c Config) pathsOf(id string) paths {
	p := paths{id: id, state: filepath.Join(c.daemonsDir(), id), run: filepath.Join(c.nodeRun(), id)}
	p.root = filepath.Join(p.state, "g")
	p.exec = filepath.Join(p.run, "x")
	p.sock = filepath.Join(p.run, "d.sock")
	p.pid = filepath.Join(p.run, "d.pid")
	return p
}

func (c Config) cgroupFS() string {
	if c.CgroupFS == "" {
		return "/sys/fs/cgroup"
	}
	return c.CgroupFS
}

func (c Config) log() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("node", string(c.Node))
}

// owners lists the owners that have a daemon on this node, by the durable
// owner files, sorted by directory name. A node without any is no error.
func (c Config) owners() ([]string, error) {
	entries, err := os.ReadDir(c.daemonsDir())
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list daemons: %w", err)
	}
	var owners []string
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(c.daemonsDir(), e.Name(), "owner"))
		if os.IsNotExist(err) {
			continue // a daemon that is just being made, or was never
		}
		if err != nil {
			return nil, fmt.Errorf("list daemons: %w", err)
		}
		if owner := strings.TrimSpace(string(b)); c.paths(owner).id == e.Name() {
			owners = append(owners, owner) // others are of another cluster or node
		}
	}
	return owners, nil
}
