package dockerd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"longshore/internal/dockerd"
)

// The janitor's case: every dockerd, containerd and shim was killed with -9,
// and the process that cleans up started none of them.
func TestDestroyAfterACrash(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, func(c *dockerd.Config) { m.mirrored(c); c.RemoveState = false })
	image := m.image(t, "alice/hello", 0)
	n.launch(n.spec(id("alice", "web"), image))
	n.launch(n.spec(id("bob", "deaf"), image, "deaf"))
	sockets, _ := filepath.Glob("/run/containerd/s/*")
	n.stop()
	for _, pid := range pidsOf(n.cfg.RunDir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	n.eventually("all are dead", func() bool { return len(pidsOf(n.cfg.RunDir)) == 0 })

	n.gone()
	if left, _ := filepath.Glob("/run/containerd/s/*"); len(sockets) > 0 && len(left) >= len(sockets) {
		t.Logf("shim sockets: %d before, %d now (others' tests have some too)", len(sockets), len(left))
	}
	state, root, _, _, _, _ := n.cfg.Places("alice")
	if _, err := os.Stat(root); err != nil {
		t.Errorf("the data-root went with RemoveState unset: %v", err)
	}
	n.cfg.RemoveState = true
	n.gone()
	if _, err := os.Stat(state); !os.IsNotExist(err) {
		t.Errorf("state is left: %v", err)
	}
	n.gone() // once more is harmless
}

func pidsOf(dir string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), dir) {
			pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}
