package hostnet_test

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

// dummy is a foreign interface with an address, hence a route.
func dummy(tb testing.TB, name, address string) {
	tb.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := netlink.LinkDel(link); err != nil {
			tb.Error(err)
		}
	})
	a, err := netlink.ParseAddr(address)
	if err != nil {
		tb.Fatal(err)
	}
	if err := netlink.AddrAdd(link, a); err != nil {
		tb.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		tb.Fatal(err)
	}
}

func TestSubnets(t *testing.T) {
	leavesNothing(t)
	dummy(t, "foreign0", "10.99.0.7/23") // takes two of four
	dirs := []string{t.TempDir(), t.TempDir()}
	pool := netip.MustParsePrefix("10.99.0.0/22")
	n1 := newNet(t, hostnet.Config{Node: "n1", StateDir: dirs[0], Pool: pool, Beside: dirs[1:]})
	n2 := newNet(t, hostnet.Config{Node: "n2", StateDir: dirs[1], Pool: pool, Beside: dirs[:1]})
	a, b := ensure(t, n1, "alice"), ensure(t, n2, "alice")
	if a.Subnet.Overlaps(b.Subnet) || !pool.Overlaps(a.Subnet) || !pool.Overlaps(b.Subnet) || a.Bridge == b.Bridge {
		t.Fatalf("alice has %v on n1 and %v on n2", a, b)
	}
	for _, u := range []hostnet.UserNet{a, b} {
		if u.Subnet.Overlaps(netip.MustParsePrefix("10.99.0.0/23")) {
			t.Errorf("%v overlaps a route of the host", u.Subnet)
		}
		if len(u.Bridge) > 15 || u.Subnet.Bits() != 24 || !u.Subnet.Contains(u.Gateway) || u.NetContainer != u.Gateway.Next() {
			t.Errorf("odd network: %+v", u)
		}
	}
	if _, err := n1.EnsureUser(t.Context(), "bob"); !isKind(err, placement.KindUnavailable) {
		t.Errorf("a full pool: %v", err)
	}
	// A removed owner's subnet is kept for them, also from other nodes ...
	if err := n2.RemoveUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := n1.EnsureUser(t.Context(), "bob"); !isKind(err, placement.KindUnavailable) {
		t.Errorf("a pool full of records: %v", err)
	}
	if got := ensure(t, n2, "alice"); got != b {
		t.Errorf("alice came back to %v, had %v", got, b)
	}
	// ... until no other is left.
	if err := n2.RemoveUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if got := ensure(t, n2, "carol"); got.Subnet != b.Subnet {
		t.Errorf("carol got %v, want alice's former %v", got, b.Subnet)
	}
}

// A subnet that the host has come to route elsewhere is not taken up again.
func TestSubnetTakenMeanwhile(t *testing.T) {
	leavesNothing(t)
	n := newNet(t, hostnet.Config{})
	before := ensure(t, n, "alice")
	link, err := netlink.LinkByName(before.Bridge)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	dummy(t, "foreign0", before.Gateway.String()+"/24")
	after := ensure(t, n, "alice")
	if after.Subnet.Overlaps(before.Subnet) {
		t.Errorf("alice got %v again", after.Subnet)
	}
	if again := ensure(t, n, "alice"); again != after {
		t.Errorf("alice got %v, then %v", after, again)
	}
}

func TestDefaultPoolInUse(t *testing.T) {
	leavesNothing(t)
	dummy(t, "foreign0", "10.1.2.3/8") // lies over 10.213.0.0/16
	n := newNet(t, hostnet.Config{})
	if u := ensure(t, n, "alice"); !netip.MustParsePrefix("172.16.0.0/17").Overlaps(u.Subnet) {
		t.Errorf("got %v, want one of the second pool", u.Subnet)
	}
}

func TestForeignBridgeInTheWay(t *testing.T) {
	leavesNothing(t)
	n := newNet(t, hostnet.Config{})
	u := ensure(t, n, "alice")
	link, err := netlink.LinkByName(u.Bridge)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetAlias(link, "somebody else's"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.EnsureUser(t.Context(), "alice"); !isKind(err, placement.KindConflict) {
		t.Errorf("ensure: %v", err)
	}
	if err := n.RemoveUser(t.Context(), "alice"); !isKind(err, placement.KindConflict) {
		t.Errorf("remove: %v", err)
	}
	sweep(t, "c1", "n1")
	if _, err := netlink.LinkByName(u.Bridge); err != nil {
		t.Errorf("the sweep took a foreign bridge: %v", err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
}
