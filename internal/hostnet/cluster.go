package hostnet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"

	"longshore/internal/placement"
)

// ClusterConfig says which cluster has all its nodes on this machine.
type ClusterConfig struct {
	Cluster  string       // its ID
	StateDir string       // durable; holds clusternet.json
	Pool     netip.Prefix // of the clusters' /24s; the zero value means the default ones
	Logger   *slog.Logger // nil: none
}

// ClusterNet is the bridge of a cluster on one machine: it carries an address
// of its own for each node, so that each has all ports to itself. Addresses
// belong to the bridge; nothing is plugged into it.
type ClusterNet struct {
	bridge, alias, file string
	subnet              netip.Prefix
	turn                turn
	state               clusterState // of whoever has the turn
}

// EnsureCluster makes the bridge of a cluster, or repairs it. Addresses of nodes
// that it carries stay; [ClusterNet.AddNodeAddress] gives the others. Its subnet
// stays the same as long as the bridge is there, or the record is and the host
// has no other route over it.
func EnsureCluster(ctx context.Context, cfg ClusterConfig) (*ClusterNet, error) {
	if err := checkCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	from, err := pools(cfg.Pool, clusterPools())
	if err != nil {
		return nil, err
	}
	c := &ClusterNet{
		bridge: clusterBridge(cfg.Cluster),
		alias:  clusterAlias(cfg.Cluster),
		file:   filepath.Join(cfg.StateDir, clusterFile),
		turn:   make(turn, 1),
	}
	unlock, err := lockHost(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.chooseSubnet(from, cfg); err != nil {
		return nil, fmt.Errorf("ensure the bridge of the cluster: %w", err)
	}
	c.subnet = c.state.Subnet
	if err := c.ensure(); err != nil {
		return nil, fmt.Errorf("ensure the bridge of the cluster: %w", err)
	}
	return c, nil
}

// chooseSubnet takes the recorded subnet, that of the bridge, or a new one, and
// records it.
func (c *ClusterNet) chooseSubnet(from []netip.Prefix, cfg ClusterConfig) error {
	if err := readState(c.file, &c.state); err != nil {
		return err
	}
	if !usable(c.state.Subnet) {
		c.state = clusterState{}
	}
	link, err := findBridge(c.bridge, c.alias)
	if err != nil {
		return err
	}
	if link != nil && !c.state.Subnet.IsValid() {
		addresses, err := addressesOf(link)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if a.Bits() == subnetBits {
				c.state.Subnet = a.Masked()
			}
		}
	}
	taken, err := routed(c.bridge)
	if err != nil {
		return err
	}
	if !c.state.Subnet.IsValid() || overlapsAny(c.state.Subnet, taken) {
		c.state = clusterState{} // node addresses lie in the subnet
		if c.state.Subnet, err = choose(from, taken, seedOf(cfg.Cluster)); err != nil {
			return err
		}
	}
	c.state.V = placement.Format
	if c.state.Nodes == nil {
		c.state.Nodes = map[placement.NodeID]netip.Addr{}
	}
	return writeState(c.file, c.state)
}

// ensure makes the bridge, and takes addresses off that are on no record.
func (c *ClusterNet) ensure() error {
	own := netip.PrefixFrom(c.Address(), subnetBits)
	link, err := ensureBridge(c.bridge, c.alias, own)
	if err != nil {
		return err
	}
	wanted := map[netip.Prefix]bool{own: true}
	for _, a := range c.state.Nodes {
		wanted[netip.PrefixFrom(a, 32)] = true
	}
	return dropAddresses(link, func(a netip.Prefix) bool { return wanted[a] })
}

// Bridge is the name of the interface.
func (c *ClusterNet) Bridge() string { return c.bridge }

// Address is the bridge's own, .1 of its subnet: what all nodes can reach.
func (c *ClusterNet) Address() netip.Addr { return plus(c.subnet.Addr(), 1) }

// AddNodeAddress gives a node its address on the bridge. The same node gets the
// same one, also after [ClusterNet.RemoveNodeAddress] and after a restart.
func (c *ClusterNet) AddNodeAddress(ctx context.Context, node placement.NodeID) (netip.Addr, error) {
	if err := placement.CheckName("node", string(node)); err != nil {
		return netip.Addr{}, err
	}
	if err := c.turn.take(ctx); err != nil {
		return netip.Addr{}, err
	}
	defer c.turn.leave()
	address, known := c.state.Nodes[node]
	if !known {
		var err error
		if address, err = c.record(node); err != nil {
			return netip.Addr{}, fmt.Errorf("give %s an address: %w", node, err)
		}
	}
	if err := c.put(address); err != nil {
		return netip.Addr{}, fmt.Errorf("give %s an address: %w", node, err)
	}
	return address, nil
}

// put puts an address on the bridge, which somebody may have removed.
func (c *ClusterNet) put(address netip.Addr) error {
	link, err := findBridge(c.bridge, c.alias)
	if err == nil && link == nil {
		if err = c.ensure(); err == nil {
			link, err = findBridge(c.bridge, c.alias)
		}
	}
	if err != nil || link == nil {
		return err
	}
	return addAddress(link, address)
}

// record chooses the lowest free address for a node.
func (c *ClusterNet) record(node placement.NodeID) (netip.Addr, error) {
	used := map[netip.Addr]bool{}
	for _, a := range c.state.Nodes {
		used[a] = true
	}
	for i := uint32(2); i < 255; i++ {
		address := plus(c.subnet.Addr(), i)
		if used[address] {
			continue
		}
		next := c.state
		next.Nodes = maps.Clone(c.state.Nodes)
		next.Nodes[node] = address
		if err := writeState(c.file, next); err != nil {
			return netip.Addr{}, err
		}
		c.state = next
		return address, nil
	}
	return netip.Addr{}, &placement.Error{
		Kind: placement.KindUnavailable,
		What: fmt.Sprintf("there is no address left for node %s", node),
		Why:  fmt.Sprintf("253 nodes are on record in %s", c.subnet),
		Next: "start the cluster afresh, or with fewer nodes",
	}
}

// RemoveNodeAddress takes a node's address off the bridge: the node's machine is
// gone, as others see it. An address that is not there is removed already.
func (c *ClusterNet) RemoveNodeAddress(ctx context.Context, node placement.NodeID) error {
	if err := c.turn.take(ctx); err != nil {
		return err
	}
	defer c.turn.leave()
	address, known := c.state.Nodes[node]
	link, err := findBridge(c.bridge, c.alias)
	if err == nil && known && link != nil {
		err = dropAddresses(link, func(a netip.Prefix) bool { return a != netip.PrefixFrom(address, 32) })
	}
	if err != nil {
		return fmt.Errorf("take the address of %s away: %w", node, err)
	}
	return nil
}

// Remove removes the bridge with all addresses. Removing twice does nothing.
func (c *ClusterNet) Remove(ctx context.Context) error {
	if err := c.turn.take(ctx); err != nil {
		return err
	}
	defer c.turn.leave()
	return removeBridge(c.bridge, c.alias)
}

// RemoveCluster removes the bridge of a cluster, found by its name; what its
// nodes have goes with [Sweep].
func RemoveCluster(cluster string) error {
	if err := checkCluster(cluster); err != nil {
		return err
	}
	return removeBridge(clusterBridge(cluster), clusterAlias(cluster))
}
