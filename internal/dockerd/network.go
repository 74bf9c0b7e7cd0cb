package dockerd

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"longshore/internal/placement"
)

const bridgeOption = "com.docker.network.bridge.name"

// ensureNetwork makes the owner's one network, on the bridge that is there
// already. It is on no default bridge because only a network of one's own
// gives a net container a fixed address.
func (d *daemon) ensureNetwork(ctx context.Context, c *conn) error {
	have, err := c.NetworkInspect(ctx, netName, network.InspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return d.createNetwork(ctx, c)
	case err != nil:
		return fmt.Errorf("inspect network: %w", err)
	case sameNetwork(have, c.net):
		return nil
	}
	return d.replaceNetwork(ctx, c, have)
}

func sameNetwork(have network.Inspect, want UserNet) bool {
	return have.Options[bridgeOption] == want.Bridge && len(have.IPAM.Config) == 1 &&
		have.IPAM.Config[0].Subnet == want.Subnet.Masked().String() && have.IPAM.Config[0].Gateway == want.Gateway.String()
}

func (d *daemon) createNetwork(ctx context.Context, c *conn) error {
	n := c.net
	_, dynamic := quarters(n)
	_, err := c.NetworkCreate(ctx, netName, network.CreateOptions{
		Driver:  "bridge",
		Options: map[string]string{bridgeOption: n.Bridge},
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{
			Subnet: n.Subnet.Masked().String(), Gateway: n.Gateway.String(), IPRange: dynamic.String(),
		}}},
		Labels: map[string]string{labelCluster: d.h.cfg.Cluster, labelNode: string(d.h.cfg.Node)},
	})
	if err != nil {
		return fmt.Errorf("create network: %w", err)
	}
	return nil
}

// replaceNetwork changes the network to what the bridge has become. It can
// only while nothing but idle net containers is on it.
func (d *daemon) replaceNetwork(ctx context.Context, c *conn, have network.Inspect) error {
	all, err := c.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, s := range all {
		if s.Labels[labelNet] == "" {
			return &placement.Error{
				Kind: placement.KindRefused,
				What: fmt.Sprintf("the network of %s on %s does not fit its bridge %s", d.owner, d.h.cfg.Node, c.net.Bridge),
				Why:  fmt.Sprintf("containers live on %s of bridge %s, but the bridge has %s", have.IPAM.Config, have.Options[bridgeOption], c.net.Subnet),
				Next: "give the bridge its old subnet again, or remove the owner's containers on this node",
			}
		}
	}
	for _, s := range all {
		if err := discard(ctx, c, s.ID); err != nil {
			return err
		}
	}
	if err := c.NetworkRemove(ctx, have.ID); err != nil {
		return fmt.Errorf("remove network: %w", err)
	}
	return d.createNetwork(ctx, c)
}

// quarters splits a subnet: one quarter without fixed addresses is left to
// Docker to give away, the other three hold the net containers of ours.
func quarters(n UserNet) (fixed []netip.Prefix, dynamic netip.Prefix) {
	p := n.Subnet.Masked()
	size := uint64(1) << (32 - p.Bits() - 2)
	for q := range uint64(4) {
		quarter := netip.PrefixFrom(add(p.Addr(), q*size), p.Bits()+2)
		fixed = append(fixed, quarter)
	}
	for i := 3; i >= 0; i-- {
		if q := fixed[i]; !q.Contains(n.Gateway) && !q.Contains(n.NetContainer) {
			return append(fixed[:i:i], fixed[i+1:]...), q
		}
	}
	return nil, p // unreachable: two addresses lie in two quarters at most
}

func add(a netip.Addr, n uint64) netip.Addr {
	b := a.As4()
	v := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// PickAddress chooses a fixed address for the net container of one placement:
// one that is not taken, the same for the same placement where possible. It is
// the zero Addr if none is free.
func PickAddress(n UserNet, id placement.ID, taken map[netip.Addr]bool) netip.Addr {
	fixed, _ := quarters(n)
	size := uint64(1) << (32 - n.Subnet.Bits() - 2)
	first, last := n.Subnet.Masked().Addr(), add(n.Subnet.Masked().Addr(), 4*size-1)
	total := size * uint64(len(fixed))
	hash := fnv.New64a()
	hash.Write([]byte(id))
	for i := range total {
		at := (hash.Sum64()%total + i) % total
		a := add(fixed[at/size].Addr(), at%size)
		if a != first && a != last && a != n.Gateway && a != n.NetContainer && !taken[a] {
			return a
		}
	}
	return netip.Addr{}
}
