package hostnet_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"longshore/internal/hostnet"
)

// foreign are things of others that must not be touched.
func foreign(t *testing.T) {
	t.Helper()
	dummy(t, "docker0", "172.17.0.1/16")
	dummy(t, "lsforeign", "10.77.0.1/24")
	for _, r := range []string{
		"-t filter -N DOCKER-USER",
		"-t filter -A FORWARD -j DOCKER-USER",
		"-t filter -A DOCKER-USER -j RETURN",
		"-t filter -A FORWARD -i docker0 -o lsforeign -m comment --comment longshore -j ACCEPT",
		"-t nat -N LONGSHORE-FOREIGN",
		"-t nat -A PREROUTING -p tcp --dport 81 -j LONGSHORE-FOREIGN",
		"-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
	} {
		iptables(t, strings.Fields(r)...)
	}
	t.Cleanup(func() {
		for _, r := range []string{
			"-t filter -F FORWARD", "-t filter -F DOCKER-USER", "-t filter -X DOCKER-USER",
			"-t nat -F PREROUTING", "-t nat -X LONGSHORE-FOREIGN", "-t nat -F POSTROUTING",
		} {
			iptables(t, strings.Fields(r)...)
		}
	})
}

// Two nodes of a cluster and a second cluster on one host, beside foreign
// things: each has its own, and sweeping one leaves the others at work.
func TestSweep(t *testing.T) {
	leavesNothing(t)
	foreign(t)
	empty := snapshot(t)
	n2 := newNet(t, hostnet.Config{Node: "n2"})
	twin := newNet(t, hostnet.Config{Cluster: "c2", Node: "n1"})
	cluster := newCluster(t, "c1")
	address, err := cluster.AddNodeAddress(t.Context(), "n2")
	if err != nil {
		t.Fatal(err)
	}
	bob := ensure(t, n2, "bob")
	ensure(t, twin, "alice")
	container(t, bob, "b", 2)
	port := netip.AddrPortFrom(address, 8080).String()
	expose(t, n2, "bob/web", port, bob.NetContainer.String()+":80")
	others := snapshot(t)

	dir := t.TempDir()
	n1 := newNet(t, hostnet.Config{StateDir: dir})
	own, err := cluster.AddNodeAddress(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	alice := ensure(t, n1, "alice")
	a := container(t, alice, "a", 2)
	expose(t, n1, "alice/web", netip.AddrPortFrom(own, 8080).String(), alice.NetContainer.String()+":80")
	check := func() {
		t.Helper()
		if got, err := call(port); err != nil || got[:4] != "b to" {
			t.Errorf("n2 answers %q, %v", got, err)
		}
	}
	check()
	refuses(t, a.dial, bob.NetContainer.String()+":80") // owners are apart on all nodes
	if got, err := a.dial(port); err != nil || got[:4] != "b to" {
		t.Errorf("n2 answers %q, %v to a container of n1", got, err)
	}
	if got, err := call(netip.AddrPortFrom(own, 8080).String()); err != nil || got[:4] != "a to" {
		t.Errorf("n1 answers %q, %v at the same port", got, err)
	}

	if err := cluster.RemoveNodeAddress(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("va")
	if err != nil {
		t.Fatal(err)
	}
	sweep(t, "c1", "n1") // while a container is still plugged in
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(others, snapshot(t)); diff != "" {
		t.Errorf("sweeping n1 left or took something (-before +after):\n%s", diff)
	}
	check()
	sweep(t, "c1", "n1") // again

	// The same process can go on from the beginning.
	if got := ensure(t, n1, "alice"); got != alice {
		t.Errorf("alice got %v after the sweep, had %v", got, alice)
	}
	if err := n1.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(t, n1); len(got) != 0 {
		t.Errorf("exposed after a sweep: %v", got)
	}
	if err := n1.RemoveUser(t.Context(), "alice"); err != nil {
		t.Error(err)
	}
	sweep(t, "c1", "n2")
	sweep(t, "c2", "n1")
	if err := cluster.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	link, err = netlink.LinkByName("vb")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(empty, snapshot(t)); diff != "" {
		t.Errorf("not all is swept (-before +after):\n%s", diff)
	}
}

func TestRemoveUser(t *testing.T) {
	leavesNothing(t)
	outside(t)
	dir := t.TempDir()
	n := newNet(t, hostnet.Config{StateDir: dir})
	bob := ensure(t, n, "bob")
	expose(t, n, "bob/web", "198.51.100.1:8081", bob.NetContainer.String()+":80")
	before := snapshot(t)
	alice := ensure(t, n, "alice")
	expose(t, n, "alice/web", "198.51.100.1:8080", alice.NetContainer.String()+":80")
	restarted := newNet(t, hostnet.Config{StateDir: dir})
	for range 2 {
		if err := restarted.RemoveUser(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("removing alice left or took something (-before +after):\n%s", diff)
	}
	if err := n.RemoveUser(t.Context(), "nobody"); err != nil {
		t.Error(err)
	}
}
