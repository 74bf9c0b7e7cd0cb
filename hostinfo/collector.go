package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"longshore/internal/placement"
)

// Ledger is what the collector tells, and asks, the ledger. Its errors go back
// to whoever sent the report.
type Ledger interface {
	// OpenLink numbers a new link of the node, above all its former ones.
	OpenLink(ctx context.Context, cluster string, node placement.NodeID) (placement.Link, error)
	// Report applies a report, and answers when that is durable.
	Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error)
	// Nodes is all nodes that ever registered.
	Nodes(ctx context.Context) ([]placement.NodeRecord, error)
	// MoreRoom says that a node has more free room than before.
	MoreRoom(node placement.NodeID, free placement.Resources)
	// Mark is the ledger's present one: every answer to an agent carries it.
	Mark() placement.Mark
}

// Orders carries stop orders to the agents.
type Orders interface {
	// Stop sends one order. An order for what is gone already succeeds; an
	// error means that it may not have arrived.
	Stop(ctx context.Context, node placement.NodeID, o placement.StopOrder) error
}

// CollectorConfig says what a collector serves.
type CollectorConfig struct {
	Cluster string // the cluster's ID
	Times   Times
	Timeout time.Duration // of a stop order; 2 s
	Logger  *slog.Logger
}

const (
	maxNodes  = 10_000 // remembered
	maxOrders = 1_000  // on their way to one node
)

// Collector is the central view of all nodes: it takes their reports and
// beats, and knows how full and how well heard each is.
type Collector struct {
	cfg    CollectorConfig
	ledger Ledger
	orders Orders

	deliver chan *node // nodes whose orders nobody carries yet

	mu        sync.Mutex
	nodes     map[placement.NodeID]*node
	began     time.Time // we ourselves
	voided    time.Time // all silences began again
	trouble   string    // why; "" once over
	lastBegun time.Time // anything last began to be given up
	failed    error     // of the ledger, since the last round
}

// NewCollector starts with no node heard: silences begin now.
func NewCollector(cfg CollectorConfig, ledger Ledger, orders Orders) (*Collector, error) {
	if cfg.Logger == nil || cfg.Cluster == "" {
		return nil, errors.New("hostinfo: a collector needs a cluster and a logger")
	}
	cfg.Times = cfg.Times.WithDefaults()
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	now := time.Now()
	return &Collector{
		cfg: cfg, ledger: ledger, orders: orders,
		deliver: make(chan *node, maxNodes),
		nodes:   map[placement.NodeID]*node{},
		began:   now, voided: now, lastBegun: now.Add(-time.Hour),
	}, nil
}

// Run carries stop orders to agents until ctx ends, each node's in turn and no
// node's behind another's; then it returns nil.
func (c *Collector) Run(ctx context.Context) error {
	var carriers sync.WaitGroup
	defer carriers.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-c.deliver:
			carriers.Go(func() { c.carry(ctx, n) })
		}
	}
}

// order hands orders to whoever carries those of n.
func (c *Collector) order(n *node, orders []placement.StopOrder) {
	if len(orders) == 0 {
		return
	}
	c.mu.Lock()
	n.orders = append(n.orders, orders[:min(len(orders), maxOrders-len(n.orders))]...)
	idle := !n.carried
	n.carried = true
	c.mu.Unlock()
	if idle {
		c.deliver <- n // it has room for every node, and each is in it once
	}
}

// carry sends the orders of n until there are none. After one that failed the
// rest is dropped: the node's next listing brings them again.
func (c *Collector) carry(ctx context.Context, n *node) {
	for {
		c.mu.Lock()
		orders := n.orders
		n.orders = nil
		n.carried = len(orders) > 0
		c.mu.Unlock()
		if len(orders) == 0 {
			return
		}
		for _, o := range orders {
			call, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
			err := c.orders.Stop(call, n.name, o)
			cancel()
			if err != nil {
				c.cfg.Logger.Warn("stop order not delivered", "node", n.name, "placement", o.ID, "epoch", o.Epoch, "err", err)
				break
			}
		}
	}
}

// Link opens the link of a node's hostinfod.
func (c *Collector) Link(ctx context.Context, h placement.Hello) (placement.Link, error) {
	if err := c.check(h.V, h.Cluster, h.Node); err != nil {
		return placement.Link{}, err
	}
	link, err := c.ledger.OpenLink(ctx, c.cfg.Cluster, h.Node)
	if err != nil {
		return placement.Link{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.node(h.Node)
	if n == nil {
		return placement.Link{}, errTooMany
	}
	now := time.Now()
	n.hostinfo = now
	if link.Link > n.link {
		n.link, n.opened = link.Link, now
	}
	return link, nil
}

// Beat takes a sign of life from either process of a node.
func (c *Collector) Beat(b placement.Beat) error {
	if err := c.check(placement.Format, b.Cluster, b.Node); err != nil {
		return err
	}
	if err := c.Heard(b.Node, b.Role); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	process := 0
	if b.Role == placement.RoleHostinfo {
		process = 1
	}
	c.nodes[b.Node].alarms[process] = fmt.Sprintf("%.300s", b.Alarm)
	return nil
}

// Heard says that there was a word from a process of a node, on whatever way
// it came.
func (c *Collector) Heard(name placement.NodeID, role string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.node(name)
	switch {
	case n == nil:
		return errTooMany
	case role == placement.RoleAgent:
		n.agent = time.Now()
	case role == placement.RoleHostinfo:
		n.hostinfo = time.Now()
	default:
		return &placement.Error{Kind: placement.KindInvalid, What: "a node has no process of role " + role}
	}
	return nil
}

// Report takes one report to the ledger, and the ledger's stop orders to the
// agent.
func (c *Collector) Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, error) {
	if err := c.check(r.V, r.Cluster, r.Node); err != nil {
		return placement.ReportAnswer{}, err
	}
	n, r, known := c.expand(r)
	if n == nil {
		return placement.ReportAnswer{}, errTooMany
	}
	if !known {
		return placement.ReportAnswer{Resend: true}, nil
	}
	answer, orders, err := c.ledger.Report(ctx, r)
	if err != nil {
		c.ledgerFailed(ctx, err)
		return placement.ReportAnswer{}, err
	}
	if r.Full && !answer.Resend {
		if free, more := c.took(n, r, answer); more {
			c.ledger.MoreRoom(r.Node, free)
		}
	}
	c.order(n, orders)
	return answer, nil
}

// ledgerFailed remembers an error that is the ledger's own, not one that says
// something about the caller.
func (c *Collector) ledgerFailed(ctx context.Context, err error) {
	var e *placement.Error
	if ctx.Err() != nil || errors.As(err, &e) && e.Kind != placement.KindUnavailable {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

func (c *Collector) check(v int, cluster string, name placement.NodeID) error {
	switch {
	case v != placement.Format:
		return &placement.Error{
			Kind: placement.KindInvalid, What: "this broadcaster does not understand the node's messages",
			Why: "their format is another version", Next: "run the same release on both",
		}
	case cluster != "" && cluster != c.cfg.Cluster:
		return &placement.Error{
			Kind: placement.KindRefused, What: "node " + string(name) + " serves another cluster",
			Why: "it says " + cluster + ", this is " + c.cfg.Cluster,
		}
	}
	return placement.CheckName("node", string(name))
}

var errTooMany = &placement.Error{Kind: placement.KindUnavailable, What: "too many nodes have been heard of"}
