package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// small mounts a disk of so many MiB at a directory, until the test ends.
func (c *Cluster) small(dir string, size int) {
	c.t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.sh(fmt.Sprintf("mount -t tmpfs -o size=%dm,mode=700 small %s", size, dir))
	c.disks = append(c.disks, dir)
}

// FillLedger leaves no byte on the ledger's disk, until free.
func (c *Cluster) FillLedger() (free func()) {
	return c.fill(filepath.Join(c.Dir, "broadcaster"))
}

// Fill leaves no byte on the disk of the node's state, until free.
func (n *Node) Fill() (free func()) { return n.c.fill(n.StateDir) }

func (c *Cluster) fill(dir string) (free func()) {
	c.t.Helper()
	path := filepath.Join(dir, "ballast")
	file, err := os.Create(path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			c.t.Error(err)
		}
	}
}
