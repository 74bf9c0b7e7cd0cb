package hostnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

// contextOf is a context for clean-up, where the test's own has ended.
func contextOf(tb testing.TB) context.Context {
	tb.Helper()
	return context.WithoutCancel(tb.Context())
}

func isKind(err error, kind string) bool {
	var problem *placement.Error
	return errors.As(err, &problem) && problem.Kind == kind && problem.Why != ""
}

func TestTraffic(t *testing.T) {
	leavesNothing(t)
	dropForward(t)
	out := outside(t)
	n := newNet(t, hostnet.Config{})
	alice, bob := ensure(t, n, "alice"), ensure(t, n, "bob")
	a, a2 := container(t, alice, "a", 2), container(t, alice, "a2", 3)
	b := container(t, bob, "b", 2)
	at := func(u hostnet.UserNet) string { return u.NetContainer.String() + ":80" }

	// Within a network the caller is seen as it is; outwards as the host.
	answers(t, a2.dial, at(alice), "a to "+alice.Subnet.Addr().Next().Next().Next().String())
	answers(t, a.dial, "198.51.100.2:80", "outside to 198.51.100.1")
	answers(t, call, at(alice), "a to "+alice.Gateway.String())
	// Owners are apart, and nothing is reached that is not exposed.
	refuses(t, a.dial, at(bob))
	refuses(t, b.dial, at(alice))
	refuses(t, out.dial, at(alice))

	expose(t, n, "alice/web:80", "198.51.100.1:8080", at(alice))
	expose(t, n, "bob/web:80", "198.51.100.1:8081", at(bob))
	answers(t, out.dial, "198.51.100.1:8080", "a to 198.51.100.2")
	answers(t, out.dial, "198.51.100.1:8081", "b to 198.51.100.2")
	if got, err := call("198.51.100.1:8080"); err != nil || got[:4] != "a to" {
		t.Errorf("from the host itself: %q %v", got, err)
	}
	if got, err := b.dial("198.51.100.1:8080"); err != nil || got[:4] != "a to" {
		t.Errorf("from another owner: %q %v", got, err)
	}
	refuses(t, out.dial, at(alice)) // still
	refuses(t, call, "127.0.0.1:8080")

	expose(t, n, "alice/web:80", "198.51.100.1:8082", at(alice)) // moves
	answers(t, out.dial, "198.51.100.1:8082", "a to 198.51.100.2")
	refuses(t, out.dial, "198.51.100.1:8080")
	if err := n.Withdraw(t.Context(), "alice/web:80"); err != nil {
		t.Fatal(err)
	}
	refuses(t, out.dial, "198.51.100.1:8082")
	answers(t, out.dial, "198.51.100.1:8081", "b to 198.51.100.2")

	anywhere := hostnet.Rule{Key: "alice/any", HostPort: 8090, To: netip.AddrPortFrom(alice.NetContainer, 80)}
	if err := n.Expose(t.Context(), anywhere); err != nil {
		t.Fatal(err)
	}
	answers(t, out.dial, "198.51.100.1:8090", "a to 198.51.100.2")
}

func TestRepair(t *testing.T) {
	leavesNothing(t)
	dropForward(t)
	out := outside(t)
	n := newNet(t, hostnet.Config{})
	alice := ensure(t, n, "alice")
	a := container(t, alice, "a", 2)
	expose(t, n, "alice/web", "198.51.100.1:8080", alice.NetContainer.String()+":80")
	for name, damage := range map[string]func(){
		"none":  func() {},
		"flush": func() { iptables(t, "-F"); iptables(t, "-t", "nat", "-F") },
		"chains gone": func() {
			iptables(t, "-F")
			iptables(t, "-X")
			iptables(t, "-t", "nat", "-F")
			iptables(t, "-t", "nat", "-X")
		},
		"somebody first": func() { iptables(t, "-I", "FORWARD", "1", "-j", "DROP") },
		"doubled":        func() { iptables(t, "-A", "FORWARD", "-j", chainOf(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			damage()
			if err := n.Repair(t.Context()); err != nil {
				t.Fatal(err)
			}
			answers(t, out.dial, "198.51.100.1:8080", "a to 198.51.100.2")
			answers(t, a.dial, "198.51.100.2:80", "outside to 198.51.100.1")
			order := snapshot(t)
			if err := n.Repair(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(order, snapshot(t)); diff != "" {
				t.Errorf("a second repair changed something:\n%s", diff)
			}
			if count, first := jumpsTo(t, "FORWARD"); count != 1 || !first {
				t.Errorf("%d jumps in FORWARD, first %v, want one, first", count, first)
			}
		})
	}
	iptables(t, "-F", "FORWARD") // what the damage left

	// A bridge that lost its address or was switched off is put right by ensure.
	link, err := netlink.LinkByName(alice.Bridge)
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr(alice.Gateway.String() + "/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.AddrDel(link, address), netlink.LinkSetDown(link)); err != nil {
		t.Fatal(err)
	}
	if got := ensure(t, n, "alice"); got != alice {
		t.Errorf("got %v, want %v", got, alice)
	}
	if err := n.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers(t, out.dial, "198.51.100.1:8080", "a to 198.51.100.2")
}

// chainOf is the name of our chain in the table filter.
func chainOf(t *testing.T) string {
	t.Helper()
	for line := range slices.Values(snapshot(t)) {
		var name string
		if k, _ := fmt.Sscanf(line, ":%s", &name); k == 1 && len(name) > 9 && name[:10] == "LONGSHORE-" {
			return name
		}
	}
	t.Fatal("no chain")
	return ""
}

func TestRunRepairs(t *testing.T) {
	leavesNothing(t)
	n := newNet(t, hostnet.Config{})
	ensure(t, n, "alice")
	iptables(t, "-F", "FORWARD")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if count, _ := jumpsTo(t, "FORWARD"); count == 1 {
			break
		}
		select {
		case <-deadline.C:
			t.Fatal("the jump did not come back")
		case <-tick.C:
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A new process goes on where the last one ended, with its record or without.
func TestRestart(t *testing.T) {
	leavesNothing(t)
	out := outside(t)
	dir := t.TempDir()
	first := newNet(t, hostnet.Config{StateDir: dir})
	alice := ensure(t, first, "alice")
	bob := ensure(t, first, "bob")
	container(t, alice, "a", 2)
	expose(t, first, "alice/web", "198.51.100.1:8080", alice.NetContainer.String()+":80")
	for _, lost := range []bool{false, true} {
		if lost {
			if err := os.Remove(filepath.Join(dir, "hostnet.json")); err != nil {
				t.Fatal(err)
			}
		}
		n := newNet(t, hostnet.Config{StateDir: dir})
		if got := keysOf(t, n); !slices.Equal(got, []string{"alice/web"}) {
			t.Errorf("record lost %v: exposed %v", lost, got)
		}
		before := snapshot(t)
		if got := ensure(t, n, "alice"); got != alice {
			t.Errorf("record lost %v: alice got %v, had %v", lost, got, alice)
		}
		if diff := cmp.Diff(before, snapshot(t)); diff != "" {
			t.Errorf("record lost %v: ensuring what is there changed the host:\n%s", lost, diff)
		}
		if got := n.Users(); got["bob"] != bob || len(got) != 2 {
			t.Errorf("record lost %v: users %v", lost, got)
		}
		answers(t, out.dial, "198.51.100.1:8080", "a to 198.51.100.2")
	}
	n := newNet(t, hostnet.Config{StateDir: dir})
	if err := n.Withdraw(t.Context(), "alice/web"); err != nil {
		t.Fatal(err)
	}
	refuses(t, out.dial, "198.51.100.1:8080")

	if err := os.WriteFile(filepath.Join(dir, "hostnet.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hostnet.New(t.Context(), hostnet.Config{Cluster: "c1", Node: "n1", StateDir: dir}); !isKind(err, placement.KindRefused) {
		t.Errorf("a broken record: %v", err)
	}
}

func TestRefusedPorts(t *testing.T) {
	leavesNothing(t)
	outside(t)
	n := newNet(t, hostnet.Config{})
	expose(t, n, "one", "198.51.100.1:8080", "10.213.0.2:80")
	expose(t, n, "one", "198.51.100.1:8080", "10.213.0.2:80") // the same again
	listener, err := net.Listen("tcp4", "0.0.0.0:8085")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, c := range map[string]struct {
		rule hostnet.Rule
		kind string
	}{
		"held by another key":   {rule("two", "198.51.100.1:8080", "10.213.0.3:80"), placement.KindRefused},
		"everywhere":            {rule("two", "0.0.0.0:8080", "10.213.0.3:80"), placement.KindRefused},
		"a program listens":     {rule("two", "198.51.100.1:8085", "10.213.0.3:80"), placement.KindRefused},
		"not an address of us":  {rule("two", "198.51.100.77:8080", "10.213.0.3:80"), placement.KindRefused},
		"no key":                {rule("", "198.51.100.1:81", "10.213.0.3:80"), placement.KindInvalid},
		"a key that is options": {rule(`x" -j ACCEPT`, "198.51.100.1:81", "10.213.0.3:80"), placement.KindInvalid},
		"a key over two lines":  {rule("x\nCOMMIT", "198.51.100.1:81", "10.213.0.3:80"), placement.KindInvalid},
		"port 0":                {rule("two", "198.51.100.1:0", "10.213.0.3:80"), placement.KindInvalid},
		"to port 0":             {rule("two", "198.51.100.1:81", "10.213.0.3:0"), placement.KindInvalid},
		"IPv6":                  {rule("two", "[::1]:81", "10.213.0.3:80"), placement.KindInvalid},
		"no target":             {hostnet.Rule{Key: "two", HostPort: 81}, placement.KindInvalid},
		"protocol":              {hostnet.Rule{Key: "two", HostPort: 81, Proto: "sctp", To: netip.MustParseAddrPort("10.213.0.3:80")}, placement.KindInvalid},
	} {
		if err := n.Expose(t.Context(), c.rule); !isKind(err, c.kind) {
			t.Errorf("%s: got %v, want %s", name, err, c.kind)
		}
	}
	udp := rule("udp", "198.51.100.1:8080", "10.213.0.2:80")
	udp.Proto = "udp"
	if err := n.Expose(t.Context(), udp); err != nil {
		t.Errorf("the same port of the other protocol: %v", err)
	}
	if got := keysOf(t, n); !slices.Equal(got, []string{"one", "udp"}) {
		t.Errorf("exposed: %v", got)
	}
	if err := n.Withdraw(t.Context(), "never there"); err != nil {
		t.Error(err)
	}
}

func TestBadNames(t *testing.T) {
	leavesNothing(t)
	n := newNet(t, hostnet.Config{})
	for _, owner := range []string{"", "../x", "a b", "a\nb"} {
		if _, err := n.EnsureUser(t.Context(), owner); !isKind(err, placement.KindInvalid) {
			t.Errorf("owner %q: %v", owner, err)
		}
	}
	for _, cfg := range []hostnet.Config{
		{Node: "n1"},
		{Cluster: "c 1", Node: "n1"},
		{Cluster: "c1", Node: "n/1"},
		{Cluster: "c1", Node: "n1", Pool: netip.MustParsePrefix("10.0.0.0/25")},
		{Cluster: "c1", Node: "n1", Pool: netip.MustParsePrefix("fd00::/16")},
	} {
		cfg.StateDir = t.TempDir()
		if _, err := hostnet.New(t.Context(), cfg); !isKind(err, placement.KindInvalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	leavesNothing(t)
	outside(t)
	n := newNet(t, hostnet.Config{})
	var group sync.WaitGroup
	nets := make([]hostnet.UserNet, 12)
	for i := range nets {
		group.Go(func() {
			u, err := n.EnsureUser(t.Context(), fmt.Sprintf("owner%d", i%4))
			if err != nil {
				t.Error(err)
			}
			nets[i] = u
		})
	}
	for i := range 60 {
		group.Go(func() {
			key, at := fmt.Sprintf("k%02d", i), fmt.Sprintf("198.51.100.1:%d", 9000+i)
			if err := n.Expose(t.Context(), rule(key, at, "10.213.0.2:80")); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := n.Withdraw(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for i, u := range nets {
		if u != nets[i%4] {
			t.Errorf("owner%d has two networks: %v, %v", i%4, u, nets[i%4])
		}
		for j := range i % 4 {
			if nets[j].Subnet.Overlaps(u.Subnet) {
				t.Errorf("owner%d and owner%d share %v", j, i%4, u.Subnet)
			}
		}
	}
	if got := keysOf(t, n); len(got) != 30 {
		t.Errorf("%d keys, want 30", len(got))
	}
	if got := keysOf(t, newNet(t, hostnet.Config{})); len(got) != 30 {
		t.Errorf("%d rules on the host, want 30", len(got))
	}
}

func TestEndedContext(t *testing.T) {
	leavesNothing(t)
	outside(t)
	n := newNet(t, hostnet.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.EnsureUser(ctx, "alice"); !errors.Is(err, context.Canceled) {
		t.Errorf("ensure: %v", err)
	}
	if err := n.Expose(ctx, rule("one", "198.51.100.1:8080", "10.213.0.2:80")); !errors.Is(err, context.Canceled) {
		t.Errorf("expose: %v", err)
	}
	if got := keysOf(t, n); len(got) != 0 {
		t.Errorf("exposed after a failure: %v", got)
	}
	expose(t, n, "two", "198.51.100.1:8080", "10.213.0.2:80") // the port is free
}

func TestShortPath(t *testing.T) {
	leavesNothing(t)
	t.Cleanup(func() { sweep(t, "c1", "n1") })
	t.Run("without sbin", func(t *testing.T) {
		t.Setenv("PATH", "/usr/bin:/bin")
		ensure(t, newNet(t, hostnet.Config{}), "alice")
	})
}
