package hostnet_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

// iptables runs the tool of that name on the "host".
func iptables(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := exec.Command("iptables", append([]string{"-w"}, args...)...).CombinedOutput()
	if err != nil {
		tb.Fatalf("iptables %v: %v: %s", args, err, out)
	}
	return string(out)
}

var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// snapshot is all rules, links and IPv4 addresses of the "host".
func snapshot(tb testing.TB) []string {
	tb.Helper()
	for _, table := range []string{"filter", "nat"} { // makes them print even when empty
		iptables(tb, "-t", table, "-N", "TOUCH")
		iptables(tb, "-t", table, "-X", "TOUCH")
	}
	out, err := exec.Command("iptables-save").Output()
	if err != nil {
		tb.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(counters.ReplaceAllString(string(out), "")) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		tb.Fatal(err)
	}
	for _, l := range links {
		addresses, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("link %s %s %v", l.Type(), l.Attrs().Name, addresses))
	}
	return lines
}

// leavesNothing fails t if, after all its other clean-up, the host is not as it
// was.
func leavesNothing(tb testing.TB) {
	tb.Helper()
	before := snapshot(tb)
	tb.Cleanup(func() {
		if diff := cmp.Diff(before, snapshot(tb)); diff != "" {
			tb.Errorf("the host is not as it was (-before +after):\n%s", diff)
		}
	})
}

// dropForward is what a system dockerd does to a fresh host.
func dropForward(tb testing.TB) {
	tb.Helper()
	iptables(tb, "-P", "FORWARD", "DROP")
	tb.Cleanup(func() { iptables(tb, "-P", "FORWARD", "ACCEPT") })
}

func newNet(tb testing.TB, cfg hostnet.Config) *hostnet.Net {
	tb.Helper()
	if cfg.Cluster == "" {
		cfg.Cluster = "c1"
	}
	if cfg.Node == "" {
		cfg.Node = "n1"
	}
	if cfg.StateDir == "" {
		cfg.StateDir = tb.TempDir()
	}
	n, err := hostnet.New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sweep(tb, cfg.Cluster, cfg.Node) })
	return n
}

func sweep(tb testing.TB, cluster string, node placement.NodeID) {
	tb.Helper()
	if err := hostnet.Sweep(contextOf(tb), cluster, node); err != nil {
		tb.Error(err)
	}
}

func ensure(tb testing.TB, n *hostnet.Net, owner string) hostnet.UserNet {
	tb.Helper()
	u, err := n.EnsureUser(tb.Context(), owner)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// container plugs a box into an owner's network, as its n-th address.
func container(t *testing.T, u hostnet.UserNet, name string, n int) *box {
	t.Helper()
	b := u.Subnet.Addr().As4()
	b[3] = byte(n)
	address := netip.PrefixFrom(netip.AddrFrom4(b), 24)
	return newBox(t, name).plug("v"+name, u.Bridge, address.String(), u.Gateway.String()).serve(80)
}

// outside is a machine on a network of its own beside the host, which is
// 198.51.100.1 there.
func outside(t *testing.T) *box {
	t.Helper()
	b := newBox(t, "outside").plug("vout", "", "198.51.100.2/24", "198.51.100.1").serve(80)
	link, err := netlink.LinkByName("vout")
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr("198.51.100.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
	return b
}

// answers and refuses check one call.
func answers(t *testing.T, dial func(string) (string, error), address, want string) {
	t.Helper()
	if got, err := dial(address); err != nil || got != want {
		t.Errorf("%s: got %q, err %v, want %q", address, got, err, want)
	}
}

func refuses(t *testing.T, dial func(string) (string, error), address string) {
	t.Helper()
	got, err := dial(address)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%s: got %q, err %v, want it refused", address, got, err)
	}
}

func expose(tb testing.TB, n *hostnet.Net, key, at, to string) {
	tb.Helper()
	if err := n.Expose(tb.Context(), rule(key, at, to)); err != nil {
		tb.Fatal(err)
	}
}

func rule(key, at, to string) hostnet.Rule {
	from := netip.MustParseAddrPort(at)
	return hostnet.Rule{Key: key, Address: from.Addr(), HostPort: from.Port(), Proto: "tcp", To: netip.MustParseAddrPort(to)}
}

func keysOf(tb testing.TB, n *hostnet.Net) []string {
	tb.Helper()
	rules, err := n.Exposed(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var keys []string
	for _, r := range rules {
		keys = append(keys, r.Key)
	}
	return keys
}

// jumpsTo counts the rules of a chain that lead to ours, and tells whether one
// of them is the first rule.
func jumpsTo(tb testing.TB, chain string) (count int, first bool) {
	tb.Helper()
	rules := strings.Split(strings.TrimSpace(iptables(tb, "-S", chain)), "\n")[1:]
	for _, r := range rules {
		if strings.Contains(r, "-j LONGSHORE-") {
			count++
		}
	}
	return count, len(rules) > 0 && slices.Contains(strings.Fields(rules[0]), "-j") && strings.Contains(rules[0], "-j LONGSHORE-")
}
