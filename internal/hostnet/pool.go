package hostnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"longshore/internal/placement"
)

// subnetBits is the size of every subnet: a /24.
const subnetBits = 24

// Default pools lie outside those that Docker takes for itself (172.17.0.0/12
// and 192.168.0.0/16); a later one is used where the host has routes over the
// earlier.
func userPools() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.213.0.0/16"), netip.MustParsePrefix("172.16.0.0/17")}
}

func clusterPools() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.214.0.0/16"), netip.MustParsePrefix("172.16.128.0/17")}
}

// pools is the configured pool alone, or the default ones.
func pools(configured netip.Prefix, defaults []netip.Prefix) ([]netip.Prefix, error) {
	if !configured.IsValid() {
		return defaults, nil
	}
	if !configured.Addr().Is4() || configured.Bits() > subnetBits || configured.Bits() < 8 {
		return nil, &placement.Error{
			Kind: placement.KindInvalid,
			What: fmt.Sprintf("%s cannot be a pool of subnets", configured),
			Why:  "a pool is an IPv4 network of size /8 to /24; each owner gets a /24 of it",
			Next: "for example 10.213.0.0/16",
		}
	}
	return []netip.Prefix{configured.Masked()}, nil
}

// choose finds a /24 in the pools that overlaps nothing taken. The search
// begins at a place given by seed, so that two nodes that do not know of each
// other seldom choose the same.
func choose(pools, taken []netip.Prefix, seed uint32) (netip.Prefix, error) {
	for _, pool := range pools {
		count := uint32(1) << (subnetBits - pool.Bits())
		for i := range count {
			candidate := subnet(pool, (seed%count+i)%count)
			if !overlapsAny(candidate, taken) {
				return candidate, nil
			}
		}
	}
	return netip.Prefix{}, &placement.Error{
		Kind: placement.KindUnavailable,
		What: "there is no free subnet for another network",
		Why:  fmt.Sprintf("all of %v is recorded for owners or overlaps a route of this host", pools),
		Next: "configure another pool; `ip route show table all` lists what is in the way",
	}
}

// subnet is the n-th /24 of a pool.
func subnet(pool netip.Prefix, n uint32) netip.Prefix {
	return netip.PrefixFrom(plus(pool.Addr(), n<<(32-subnetBits)), subnetBits)
}

// usable tells whether a recorded subnet has the form of ours.
func usable(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is4() && p.Bits() == subnetBits && p == p.Masked()
}

// plus is the n-th address after a.
func plus(a netip.Addr, n uint32) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}

func overlapsAny(p netip.Prefix, taken []netip.Prefix) bool {
	return slices.ContainsFunc(taken, p.Overlaps)
}

// seedOf spreads beginnings of searches.
func seedOf(words ...string) uint32 {
	sum := hashOf(words...)
	return binary.BigEndian.Uint32(sum[:])
}
