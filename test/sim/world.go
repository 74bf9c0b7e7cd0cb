package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/memstore"
)

// Config says which cluster is simulated, and what happens to it.
type Config struct {
	Seed       uint64
	Nodes      int
	Placements int           // wanted in the beginning
	Length     time.Duration // of the faulty part; the healing comes after
	Faults     []Fault       // in the order of their times
	Dir        string        // for the nodes' state, empty; its name is as long in every run of a seed
	First      bool          // end at the first violation
	Story      bool          // keep what happened, for people
	Log        io.Writer     // gets the whole trace, to find where two runs part; nil: nothing
	Defect     Defect        // breaks the product, to see whether the judge sees it
}

// Result is what a run comes to.
type Result struct {
	Seed       uint64
	Nodes      int
	Trace      string // sha256 over every delivery and every transition
	Violations []string
	Events     int
	Fired      map[string]int // how often each rule of the protocol fired
	Faults     int            // that were injected
	Story      []string
}

// world is one simulated cluster. Its fields are the deliveries'.
type world struct {
	cfg Config
	e   *engine
	net *network
	ctx context.Context //nolint:containedctx // of everything, until the end

	serverHost, redisHost, clientHost *host
	server                            *process
	ledger                            *retryq.Ledger // of the server that runs, once it is open
	disk                              *disk
	redis                             *redis
	nodes                             []*node
	spawned                           map[string]int
	judge                             *judge
	fired                             map[string]int
	lines                             []string
	found                             chan struct{} // closed at the first violation, if that ends the run
	logger                            *slog.Logger
	injected                          int
	active                            map[string]int // faults, by kind and by kind and node
	work                              *work
	trouble                           int           // faults that all nodes feel now
	calm                              time.Duration // since when there was none
	lastHold                          time.Duration // when the ledger held last
}

// node is one node of the cluster.
type node struct {
	w        *world
	id       placement.NodeID
	host     *host
	dir      string // its real directories: "state" and "run"
	docker   *docker
	capacity placement.Resources

	agentd, hostinfod *process
	inner             *inner
	trouble           int           // faults that touch it now
	calm              time.Duration // since when there was none
	files             bool          // its state directory can be reached
}

func newWorld(ctx context.Context, cfg Config) *world {
	e := newEngine(cfg.Seed)
	e.log = cfg.Log
	w := &world{
		cfg: cfg, e: e, net: newNetwork(e, cfg.Dir), ctx: ctx,
		serverHost: &host{name: "b1"}, redisHost: &host{name: "redis"}, clientHost: &host{name: "client"},
		spawned: map[string]int{}, fired: map[string]int{}, active: map[string]int{}, found: make(chan struct{}),
	}
	w.logger = slog.New(ears{w: w})
	w.disk = &disk{w: w, store: memstore.New()}
	w.redis = newRedis(w)
	w.judge = newJudge(w)
	w.net.heard = w.heard
	for i := range cfg.Nodes {
		w.nodes = append(w.nodes, w.newNode(i))
	}
	return w
}

// newNode makes a node on which nothing runs yet. Nodes are of two sizes, and
// have room for half as much again as is wanted.
func (w *world) newNode(i int) *node {
	id := placement.NodeID(fmt.Sprintf("n%d", i))
	each := int64(w.cfg.Placements/max(w.cfg.Nodes, 1) + 1)
	size := each * 3 / 2
	if i%2 == 1 {
		size += each / 2
	}
	n := &node{
		w: w, id: id, host: &host{name: string(id)}, dir: filepath.Join(w.cfg.Dir, string(id)), files: true,
		capacity: placement.Resources{CPU: size * 300, Memory: size * 256 << 20, Disk: 1 << 40},
	}
	n.docker = &docker{w: w, node: n, daemons: map[string]*daemon{}}
	for _, d := range []string{"real/state", "real/run"} {
		if err := os.MkdirAll(filepath.Join(n.dir, d), 0o700); err != nil {
			panic(err)
		}
	}
	return n
}

// find is the node of that name.
func (w *world) find(id placement.NodeID) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.id == id })
	if i < 0 {
		return nil
	}
	return w.nodes[i]
}

// tell writes a line of the story.
func (w *world) tell(format string, args ...any) {
	if w.cfg.Story {
		w.lines = append(w.lines, fmt.Sprintf("%s  %s", stamp(w.e.now()), fmt.Sprintf(format, args...)))
	}
}

// story writes a line about one placement.
func (w *world) story(id placement.ID, format string, args ...any) {
	if w.cfg.Story {
		w.tell("%s  %s", id.Replica(), fmt.Sprintf(format, args...))
	}
}

// stamp is a time of the run as people read it.
func stamp(d time.Duration) string {
	return fmt.Sprintf("%02d:%09.6f", int(d.Minutes()), (d % time.Minute).Seconds())
}

// short is an epoch as people read it: its term and its counter.
func short(e placement.Epoch) string {
	if len(e) != 20 {
		return string(e)
	}
	return fmt.Sprintf("%d.%s", e.Start().Term(), trimZeros(string(e[12:])))
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}
