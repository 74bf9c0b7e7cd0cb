package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"longshore/internal/placement"
)

// dumpTries bounds how often a listing is read again that changed meanwhile.
const dumpTries = 5

// dump reads a listing of the kernel until it is of one moment.
func dump[T any](read func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		all, err = read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

// findBridge looks a bridge up; nil if there is none. An interface of that name
// that is something else, or another's, is an error.
func findBridge(name, alias string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up the bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" || link.Attrs().Alias != "" && link.Attrs().Alias != alias {
		return nil, &placement.Error{
			Kind: placement.KindConflict,
			What: fmt.Sprintf("the interface %s is in the way", name),
			Why:  fmt.Sprintf("it is a %s with the alias %q, and a bridge with the alias %q is needed", link.Type(), link.Attrs().Alias, alias),
			Next: "remove or rename it",
		}
	}
	return link, nil
}

// bridgeReady tells whether nothing needs to be done for a bridge.
func bridgeReady(name, alias string, address netip.Prefix) (bool, error) {
	link, err := findBridge(name, alias)
	if err != nil || link == nil {
		return false, err
	}
	if link.Attrs().Flags&net.FlagUp == 0 || link.Attrs().Alias != alias {
		return false, nil
	}
	addresses, err := addressesOf(link)
	return err == nil && len(addresses) > 0 && addresses[0] == address, err
}

// ensureBridge makes a bridge with one address, or repairs it.
func ensureBridge(name, alias string, address netip.Prefix) (netlink.Link, error) {
	link, err := findBridge(name, alias)
	if err != nil {
		return nil, err
	}
	if link == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = name, macOf(name)
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make the bridge %s: %w", name, err)
		}
		if link, err = netlink.LinkByName(name); err != nil {
			return nil, fmt.Errorf("make the bridge %s: %w", name, err)
		}
	}
	if link.Attrs().Alias != alias {
		if err := netlink.LinkSetAlias(link, alias); err != nil {
			return nil, fmt.Errorf("name the owner of the bridge %s: %w", name, err)
		}
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return nil, fmt.Errorf("give the bridge %s the address %s: %w", name, address, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("switch on the bridge %s: %w", name, err)
	}
	return link, nil
}

// addAddress gives a bridge one more address, alone in its network.
func addAddress(link netlink.Link, a netip.Addr) error {
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, 32))}); err != nil {
		return fmt.Errorf("give the bridge %s the address %s: %w", link.Attrs().Name, a, err)
	}
	return nil
}

// dropAddresses removes the IPv4 addresses of a bridge that are not to be kept.
func dropAddresses(link netlink.Link, keep func(netip.Prefix) bool) error {
	addresses, err := addressesOf(link)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if keep(a) {
			continue
		}
		err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(a)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) { // a secondary one went with the first
			return fmt.Errorf("take the address %s from %s: %w", a, link.Attrs().Name, err)
		}
	}
	return nil
}

// addressesOf lists the IPv4 addresses of an interface.
func addressesOf(link netlink.Link) ([]netip.Prefix, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	var all []netip.Prefix
	for _, a := range list {
		if p, ok := prefixOf(a.IPNet); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// removeBridge removes a bridge; one that is not there is removed already.
func removeBridge(name, alias string) error {
	link, err := findBridge(name, alias)
	if err != nil || link == nil {
		return err
	}
	return deleteLink(link)
}

func deleteLink(link netlink.Link) error {
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the bridge %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// bridgesOf lists the bridges whose names begin with prefix and whose aliases
// begin with alias, or are empty: made, and not yet marked.
func bridgesOf(prefix, alias string) ([]netlink.Link, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	var found []netlink.Link
	for _, l := range links {
		a := l.Attrs()
		if l.Type() == "bridge" && strings.HasPrefix(a.Name, prefix) && (a.Alias == "" || strings.HasPrefix(a.Alias, alias)) {
			found = append(found, l)
		}
	}
	return found, nil
}

// routed lists the networks that the host has routes to, in any table, but for
// default routes and those over the interface except.
func routed(except string) ([]netip.Prefix, error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list the routes of this host: %w", err)
	}
	index := -1
	if link, err := netlink.LinkByName(except); err == nil {
		index = link.Attrs().Index
	}
	var all []netip.Prefix
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && p.Bits() > 0 && r.LinkIndex != index {
			all = append(all, p)
		}
	}
	return all, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// ensureForwarding lets the host pass packets on. It is never switched off
// again: others may have come to need it.
func ensureForwarding() error {
	now, err := os.ReadFile(forwarding)
	if err == nil && strings.TrimSpace(string(now)) == "0" {
		err = os.WriteFile(forwarding, []byte("1\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("switch on IPv4 forwarding: %w", err)
	}
	return nil
}
