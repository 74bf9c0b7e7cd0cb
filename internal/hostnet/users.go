package hostnet

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"longshore/internal/placement"
)

// UserNet is an owner's network on the node.
type UserNet struct {
	Bridge       string       // at most 15 bytes
	Subnet       netip.Prefix // a /24
	Gateway      netip.Addr   // .1, the bridge itself
	NetContainer netip.Addr   // .2; the rest is free for others
	Idle         string       // a bridge with an address on which nothing is put, the same for all owners of the node
}

// idleAddress is that of every idle bridge: it is for nobody to talk to.
// Docker wants a network with room for two.
var idleAddress = netip.MustParsePrefix("169.254.253.1/30")

func (n names) userNet(owner string, subnet netip.Prefix) UserNet {
	return UserNet{Bridge: n.bridge(owner), Idle: n.idle(), Subnet: subnet, Gateway: plus(subnet.Addr(), 1), NetContainer: plus(subnet.Addr(), 2)}
}

// EnsureUser gives an owner a network, or repairs it: bridge, address, rules.
// The subnet stays the same for as long as it is recorded; only when the bridge
// is gone and the host has come to have another route over it, it is a new one.
// Where all is in place and was seen so in the last 10 s, it takes well under a
// millisecond.
func (n *Net) EnsureUser(ctx context.Context, owner string) (UserNet, error) {
	if err := placement.CheckName("owner", owner); err != nil {
		return UserNet{}, err
	}
	if net, ready, err := n.ready(owner); ready || err != nil {
		return net, err
	}
	net, err := n.ensureBridge(ctx, owner)
	if err != nil {
		return UserNet{}, fmt.Errorf("ensure the network of %s: %w", owner, err)
	}
	if err := n.apply(ctx); err != nil {
		return UserNet{}, fmt.Errorf("ensure the network of %s: %w", owner, err)
	}
	return net, nil
}

// ready tells whether an owner's network needs no work.
func (n *Net) ready(owner string) (UserNet, bool, error) {
	n.mu.Lock()
	record, known := n.records[owner]
	current := known && record.Removed == 0 && n.fresh() && n.have >= n.usersAt
	n.mu.Unlock()
	if !current {
		return UserNet{}, false, nil
	}
	net := n.names.userNet(owner, record.Subnet)
	ok, err := bridgeReady(net.Bridge, n.names.alias(owner), netip.PrefixFrom(net.Gateway, subnetBits))
	if ok {
		ok, err = bridgeReady(net.Idle, n.names.idleAlias(), idleAddress)
	}
	return net, ok, err
}

// ensureBridge chooses and records the subnet, and makes the bridge.
func (n *Net) ensureBridge(ctx context.Context, owner string) (UserNet, error) {
	if err := n.users.take(ctx); err != nil {
		return UserNet{}, err
	}
	defer n.users.leave()
	unlock, err := lockHost(ctx)
	if err != nil {
		return UserNet{}, err
	}
	defer unlock()
	if err := ensureForwarding(); err != nil {
		return UserNet{}, err
	}
	bridge := n.names.bridge(owner)
	subnet, err := n.subnetFor(owner, bridge)
	if err != nil {
		return UserNet{}, err
	}
	net := n.names.userNet(owner, subnet)
	address := netip.PrefixFrom(net.Gateway, subnetBits)
	link, err := ensureBridge(bridge, n.names.alias(owner), address)
	if err != nil {
		return UserNet{}, err
	}
	if _, err := ensureBridge(net.Idle, n.names.idleAlias(), idleAddress); err != nil {
		return UserNet{}, err
	}
	return net, dropAddresses(link, func(a netip.Prefix) bool { return a == address })
}

// subnetFor is the owner's subnet: the recorded one where it can be, else a new
// one. It is recorded when this returns. Call it with the host's lock.
func (n *Net) subnetFor(owner, bridge string) (netip.Prefix, error) {
	taken, err := routed(bridge)
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, file := range n.beside {
		var state userState
		if err := readState(file, &state); err != nil {
			return netip.Prefix{}, err
		}
		for _, r := range state.Users {
			taken = append(taken, r.Subnet)
		}
	}
	n.mu.Lock()
	records := maps.Clone(n.records)
	n.mu.Unlock()
	record, known := records[owner]
	usable := known && !overlapsAny(record.Subnet, taken)
	if usable && record.Removed == 0 {
		return record.Subnet, n.keep(records)
	}
	if !usable {
		old := record.Subnet
		if record.Subnet, err = n.newSubnet(owner, records, taken); err != nil {
			return netip.Prefix{}, err
		}
		if known {
			n.logger.Warn("an owner's subnet is in use on this host, and was changed", "owner", owner, "subnet", record.Subnet, "before", old)
		}
	}
	record.Removed = 0
	records[owner] = record
	return record.Subnet, n.keep(records)
}

// newSubnet chooses one that nobody has had; if there is none left, that of the
// owner who was removed first, whose record then ends.
func (n *Net) newSubnet(owner string, records map[string]userRecord, taken []netip.Prefix) (netip.Prefix, error) {
	delete(records, owner)
	seed := seedOf(n.names.cluster, string(n.names.node), owner)
	for {
		all := append([]netip.Prefix(nil), taken...)
		first := ""
		for name, r := range records {
			all = append(all, r.Subnet)
			if r.Removed > 0 && (first == "" || r.Removed < records[first].Removed) {
				first = name
			}
		}
		subnet, err := choose(n.pools, all, seed)
		if err == nil || first == "" {
			return subnet, err
		}
		delete(records, first)
	}
}

// keep makes records the ones that hold, on disk first. Call it with the turn
// of users.
func (n *Net) keep(records map[string]userRecord) error {
	n.mu.Lock()
	same := n.saved && maps.Equal(n.records, records)
	n.mu.Unlock()
	if same {
		return nil
	}
	if err := writeState(n.file, userState{V: placement.Format, Users: records}); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.saved = true
	if !maps.Equal(n.records, records) {
		n.records = records
		n.want++
		n.usersAt = n.want
	}
	return nil
}

// RemoveUser removes an owner's bridge and rules, host ports that lead to its
// subnet included. An owner without a network is removed already. The same
// owner gets the same subnet again as long as there are others left.
func (n *Net) RemoveUser(ctx context.Context, owner string) error {
	if err := placement.CheckName("owner", owner); err != nil {
		return err
	}
	if err := n.forget(ctx, owner); err != nil {
		return fmt.Errorf("remove the network of %s: %w", owner, err)
	}
	n.mu.Lock()
	untouched := n.have == n.want || n.idle()
	n.mu.Unlock()
	if untouched {
		return nil
	}
	if err := n.apply(ctx); err != nil {
		return fmt.Errorf("remove the network of %s: %w", owner, err)
	}
	return nil
}

// forget removes the bridge and marks the record.
func (n *Net) forget(ctx context.Context, owner string) error {
	if err := n.users.take(ctx); err != nil {
		return err
	}
	defer n.users.leave()
	if err := removeBridge(n.names.bridge(owner), n.names.alias(owner)); err != nil {
		return err
	}
	n.mu.Lock()
	records := maps.Clone(n.records)
	n.mu.Unlock()
	record, known := records[owner]
	if !known || record.Removed > 0 {
		return nil
	}
	for _, r := range records {
		record.Removed = max(record.Removed, r.Removed)
	}
	record.Removed++
	records[owner] = record
	if err := n.keep(records); err != nil {
		return err
	}
	if !anyUser(records) {
		if err := removeBridge(n.names.idle(), n.names.idleAlias()); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.exposed, func(_ string, r Rule) bool { return record.Subnet.Contains(r.To.Addr()) })
	n.want++
	return nil
}

func anyUser(records map[string]userRecord) bool {
	for _, r := range records {
		if r.Removed == 0 {
			return true
		}
	}
	return false
}

// Users lists the owners that have a network on record, with it.
func (n *Net) Users() map[string]UserNet {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]UserNet{}
	for owner, r := range n.records {
		if r.Removed == 0 {
			all[owner] = n.names.userNet(owner, r.Subnet)
		}
	}
	return all
}

// forgetAll makes this process want nothing, after a sweep.
func (n *Net) forgetAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for owner, r := range n.records {
		if r.Removed == 0 {
			r.Removed = 1
			n.records[owner] = r
		}
	}
	n.saved = false
	clear(n.exposed)
	n.want++
	n.have, n.usersAt = 0, n.want
	n.present, n.written, n.asserted = false, nil, time.Time{}
}
