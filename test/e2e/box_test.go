package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"longshore/test/cluster"
)

// boxVar is set in the environment of a test that runs in a box.
const boxVar = "LONGSHORE_TEST_BOX"

// inBox runs the rest of the test on a machine of its own: with processes,
// network, mounts, cgroups, /run and /var/lib that nobody else uses, so that
// "nothing is left" can be said of all of it. It returns true in there, and
// false, once that has ended, outside.
func inBox(t *testing.T) bool {
	t.Helper()
	if os.Getenv(boxVar) != "" {
		return true
	}
	dir, err := os.MkdirTemp("/var/tmp", "lsbox")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(dir)
	t.Cleanup(func() {
		trees, _ := filepath.Glob("/sys/fs/cgroup/*/" + name) // the pattern is right
		for _, tree := range trees {
			cluster.Eventually(t, 10*time.Second, "the box's cgroups go", func() error { return removeTree(tree) })
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("testdata/box.sh", name, dir, os.Args[0],
		"-test.run=^"+t.Name()+"$", fmt.Sprintf("-test.v=%t", testing.Verbose()), "-test.timeout=5m")
	cmd.Env = append(os.Environ(), boxVar+"="+name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	runtime.LockOSThread() // whose end would be the box's
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Errorf("in the box (see above): %v", err)
	}
	return false
}

// removeTree removes a cgroup with all below it.
func removeTree(dir string) error {
	entries, _ := os.ReadDir(dir) // gone: nothing below it
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
