package wiring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"longshore/internal/dockerd"
	"longshore/internal/hostnet"
	"longshore/internal/images"
	"longshore/internal/placement"
)

// resolver lets the broadcaster ask the registry what a tag means.
type resolver struct{ registry *images.Registry }

func (r resolver) Resolve(ctx context.Context, owner, ref string) (image string, listen []uint16, err error) {
	found, err := r.registry.Resolve(ctx, owner, ref)
	return found.Image, found.Listen, err
}

// network lets the daemons have their bridges from hostnet.
type network struct{ net *hostnet.Net }

func (n network) EnsureUser(ctx context.Context, owner string) (dockerd.UserNet, error) {
	u, err := n.net.EnsureUser(ctx, owner)
	return dockerd.UserNet{Bridge: u.Bridge, Subnet: u.Subnet, Gateway: u.Gateway, NetContainer: u.NetContainer, Idle: u.Idle}, err
}

func (n network) RemoveUser(ctx context.Context, owner string) error {
	return n.net.RemoveUser(ctx, owner)
}

// ports lets the agent publish ports: rules of hostnet that lead to the
// address of a placement's net container.
type ports struct {
	net     *hostnet.Net
	host    *dockerd.Host
	address netip.Addr
}

// ruleKey names the rule of one port of a placement.
func ruleKey(id placement.ID, p placement.Port) string {
	return fmt.Sprintf("%s:%s:%d", id, cmp.Or(p.Proto, "tcp"), p.Host)
}

func ruleOwner(key string) placement.ID {
	id, _, _ := strings.Cut(key, ":")
	return placement.ID(id)
}

func (p ports) Expose(ctx context.Context, id placement.ID, list []placement.Port) error {
	for _, port := range list {
		if port.Host == 0 {
			continue
		}
		to, err := p.host.Address(id.Owner(), id)
		if err != nil {
			return err
		}
		err = p.net.Expose(ctx, hostnet.Rule{
			Key: ruleKey(id, port), Address: p.address, HostPort: port.Host, Proto: port.Proto,
			To: netip.AddrPortFrom(to, port.Container),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p ports) Withdraw(ctx context.Context, id placement.ID) error {
	return p.withdraw(ctx, func(of placement.ID) bool { return of == id })
}

func (p ports) WithdrawOne(ctx context.Context, id placement.ID, port placement.Port) error {
	return p.net.Withdraw(ctx, ruleKey(id, port))
}

func (p ports) Keep(ctx context.Context, ids []placement.ID) error {
	return p.withdraw(ctx, func(of placement.ID) bool { return !slices.Contains(ids, of) })
}

func (p ports) withdraw(ctx context.Context, gone func(placement.ID) bool) error {
	rules, err := p.net.Exposed(ctx)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if gone(ruleOwner(r.Key)) {
			if err := p.net.Withdraw(ctx, r.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// noClaims is the table of a node without Redis: it cannot be reached.
type noClaims struct{}

var errNoClaims = errors.New("no Redis is configured")

func (noClaims) Acquire(context.Context, placement.ID, placement.Epoch, placement.NodeID) (placement.NodeID, bool, error) {
	return "", false, errNoClaims
}

func (noClaims) Release(context.Context, placement.ID, placement.Epoch, placement.NodeID) error {
	return errNoClaims
}

func (noClaims) Close() error { return nil }
