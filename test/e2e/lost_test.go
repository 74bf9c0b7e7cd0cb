package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// TestLedgerPutBackAndLost: an old copy of the ledger is put back under a
// cluster that has moved on, and then the ledger is lost whole. Both times what
// runs is taken in as it is: no container is restarted, ps shows everything, the
// same file again changes nothing, and rm removes.
func TestLedgerPutBackAndLost(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 2})
	c.PushHello("alice", "hello:latest")
	file := func(name string, replicas, port int, greeting string) string {
		return c.File(name+".yaml", "name: "+name+"\nservices:"+service("web", replicas, port, "", greeting))
	}
	ledger := filepath.Join(c.Dir, "broadcaster", "ledger.db")
	c.Must("submit", file("a", 1, 9600, "one"), "--owner", "alice")
	c.Broadcaster.Stop()
	copyFile(t, ledger+".old", ledger)
	c.Broadcaster.Start()
	c.WaitReady(2)
	c.Must("submit", file("a", 2, 9600, "two"), "--owner", "alice")
	c.Must("submit", file("b", 1, 9601, "b"), "--owner", "alice")
	before := containers(c)

	c.Broadcaster.Kill()
	copyFile(t, ledger, ledger+".old")
	c.Broadcaster.Start()
	runsAsBefore(t, c, before)
	if out := c.Must("submit", file("a", 2, 9600, "two"), "--owner", "alice"); !strings.Contains(out, "unchanged") {
		t.Errorf("the same file after an old ledger was put back: %s", out)
	}
	c.Must("rm", "b", "--owner", "alice")
	delete(before, "alice/b/web/1")
	if left := containers(c); !maps.Equal(left, before) {
		t.Errorf("after rm of b there are %v, not %v", left, before)
	}

	c.Broadcaster.Stop()
	files, _ := filepath.Glob(ledger + "*") // the pattern is right
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	c.Broadcaster.StartWith("--rebuild", c.ID, "--nodes", "2")
	runsAsBefore(t, c, before)
	if out := c.Must("submit", file("a", 2, 9600, "two"), "--owner", "alice"); !strings.Contains(out, "unchanged") {
		t.Errorf("the same file after the ledger was made anew: %s", out)
	}
	c.Must("submit", file("b", 1, 9601, "again"), "--owner", "alice")
	c.Must("rm", "a", "--owner", "alice")
	if left := containers(c); len(left) != 1 || left["alice/b/web/1"] == "" {
		t.Errorf("after rm of a there are %v, not b alone", left)
	}
}

// runsAsBefore waits until the ledger shows these replicas, and no others,
// running, and checks that they are the same containers.
func runsAsBefore(t *testing.T, c *cluster.Cluster, before map[placement.Replica]string) {
	t.Helper()
	began := time.Now()
	cluster.Eventually(t, 40*time.Second, "the ledger shows what runs", func() error {
		var all []placement.Status
		if err := c.Call("status", &all, placement.Filter{}); err != nil {
			return err
		}
		for _, s := range all {
			if s.State != placement.Running || before[s.Replica] == "" {
				return fmt.Errorf("%s is %s: %s", s.Replica, s.State, s.Why)
			}
		}
		if len(all) != len(before) {
			return fmt.Errorf("it shows %d of %d", len(all), len(before))
		}
		return nil
	})
	t.Logf("what runs was taken in after %.1f s", time.Since(began).Seconds())
	if now := containers(c); !maps.Equal(now, before) {
		t.Errorf("containers %v, were %v", now, before)
	}
	text := c.Must("ps", "--owner", "alice")
	for r := range before {
		if !strings.Contains(text, r.App()+"/"+r.Service()) || strings.Count(text, "running") != len(before) {
			t.Errorf("ps does not show that %s runs:\n%s", r, text)
		}
	}
	c.WaitReady(len(c.Nodes))
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
