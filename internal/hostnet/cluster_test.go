package hostnet_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

func newCluster(tb testing.TB, cluster string) *hostnet.ClusterNet {
	tb.Helper()
	return clusterIn(tb, cluster, tb.TempDir())
}

func clusterIn(tb testing.TB, cluster, dir string) *hostnet.ClusterNet {
	tb.Helper()
	c, err := hostnet.EnsureCluster(tb.Context(), hostnet.ClusterConfig{Cluster: cluster, StateDir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := hostnet.RemoveCluster(cluster); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func addNode(tb testing.TB, c *hostnet.ClusterNet, node placement.NodeID) netip.Addr {
	tb.Helper()
	a, err := c.AddNodeAddress(tb.Context(), node)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// bindable tells whether an address is one of this host now.
func bindable(a netip.Addr) bool {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(a, 0).String())
	if err == nil {
		l.Close()
	}
	return err == nil
}

func TestClusterAddresses(t *testing.T) {
	leavesNothing(t)
	dir := t.TempDir()
	c := clusterIn(t, "c1", dir)
	one, two := addNode(t, c, "n1"), addNode(t, c, "n2")
	if one == two || one == c.Address() || !bindable(one) || !bindable(two) || !bindable(c.Address()) {
		t.Fatalf("addresses %v, %v beside %v", one, two, c.Address())
	}
	for range 2 {
		if err := c.RemoveNodeAddress(t.Context(), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	if bindable(one) || !bindable(two) {
		t.Error("removing n1's address took the wrong one")
	}
	if err := c.RemoveNodeAddress(t.Context(), "unknown"); err != nil {
		t.Error(err)
	}
	if again := addNode(t, c, "n1"); again != one || !bindable(one) {
		t.Errorf("n1 got %v, had %v", again, one)
	}

	// The next process finds the same, and those that are there stay.
	next := clusterIn(t, "c1", dir)
	if !bindable(two) || addNode(t, next, "n2") != two || next.Address() != c.Address() {
		t.Error("the next process does not go on where the last one ended")
	}
	// So it does without the record, as far as the bridge tells.
	if err := os.Remove(filepath.Join(dir, "clusternet.json")); err != nil {
		t.Fatal(err)
	}
	if last := clusterIn(t, "c1", dir); last.Address() != c.Address() {
		t.Errorf("without its record the cluster moved from %v to %v", c.Address(), last.Address())
	}
	if err := hostnet.RemoveCluster("c1"); err != nil {
		t.Fatal(err)
	}
	if again := addNode(t, next, "n1"); again != one || !bindable(one) {
		t.Errorf("after the bridge was removed, n1 got %v", again)
	}
	for range 2 {
		if err := next.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if bindable(one) {
		t.Error("an address outlived its bridge")
	}
}

func TestClustersBesideOneAnother(t *testing.T) {
	leavesNothing(t)
	names := []string{"c1", "c2", "c3", "c4", "c5", "c6"}
	clusters := make([]*hostnet.ClusterNet, len(names))
	dirs := make([]string, len(names))
	for i := range names {
		dirs[i] = t.TempDir()
	}
	pool := netip.MustParsePrefix("10.99.0.0/21") // eight subnets for six clusters
	var group sync.WaitGroup
	for i, name := range names {
		t.Cleanup(func() {
			if err := hostnet.RemoveCluster(name); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			c, err := hostnet.EnsureCluster(t.Context(), hostnet.ClusterConfig{Cluster: name, StateDir: dirs[i], Pool: pool})
			if err != nil {
				t.Error(err)
				return
			}
			clusters[i] = c
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	seen := map[netip.Addr]bool{}
	for _, c := range clusters {
		if seen[c.Address()] || !pool.Contains(c.Address()) {
			t.Errorf("%v is given twice, or not of the pool", c.Address())
		}
		seen[c.Address()] = true
	}
	before := snapshot(t)
	again, err := hostnet.EnsureCluster(t.Context(), hostnet.ClusterConfig{Cluster: "c3", StateDir: dirs[2], Pool: pool})
	if err != nil || again.Address() != clusters[2].Address() {
		t.Errorf("ensuring c3 again: %v %v", again, err)
	}
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("ensuring what is there changed the host:\n%s", diff)
	}
}
