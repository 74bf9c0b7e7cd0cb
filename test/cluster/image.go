package cluster

import (
	"crypto/rand"
	"os"
	"path/filepath"
)

// PushLarge pushes an image of the example program with a layer that no other
// image has.
func (c *Cluster) PushLarge(owner, tag string) {
	c.t.Helper()
	program, err := os.ReadFile(Bin("hello"))
	if err != nil {
		c.t.Fatal(err)
	}
	more := make([]byte, 4*slowFrom)
	if _, err := rand.Read(more); err != nil {
		c.t.Fatal(err)
	}
	c.pushProgram(owner, tag, append(program, more...)) // what follows an ELF file is not looked at
}

// PushUnstartable pushes an image whose program no kernel starts: an ELF file
// of a type that there is not.
func (c *Cluster) PushUnstartable(owner, tag string) {
	c.t.Helper()
	program, err := os.ReadFile(Bin("hello"))
	if err != nil {
		c.t.Fatal(err)
	}
	program[16] = 0x7f
	c.pushProgram(owner, tag, program)
}

func (c *Cluster) pushProgram(owner, tag string, program []byte) {
	c.t.Helper()
	path := filepath.Join(c.Dir, "program")
	if err := os.WriteFile(path, program, 0o700); err != nil { //nolint:gosec // a program
		c.t.Fatal(err)
	}
	c.Must("image", "push", tag, "--owner", owner, "--binary", path)
}
