package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"longshore/internal/placement"
)

// One holds the lock at a time, however often its file goes and comes back, and
// in the end nothing of it is left.
func TestDevLock(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	paths := devPaths{state: filepath.Join(root, "lib", "x"), run: filepath.Join(root, "run", "x")}
	var holders, turns atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				f, err := paths.lock("x")
				if err != nil {
					if _, refused := errors.AsType[*placement.Error](err); !refused {
						t.Error(err)
					}
					continue
				}
				if holders.Add(1) > 1 {
					t.Error("two hold the lock")
				}
				turns.Add(1)
				holders.Add(-1)
				if err := paths.unlock(); err != nil {
					t.Error(err)
				}
				f.Close()
			}
		})
	}
	all.Wait()
	if turns.Load() == 0 {
		t.Error("nobody got it")
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a dev has started can be known by its environment until it has ended.
func TestHelpers(t *testing.T) {
	t.Parallel()
	session, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1")
	cmd.Env = append(os.Environ(), devVariable+"=helped")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	began := time.Now()
	if !slices.Contains(helpers("helped", session), cmd.Process.Pid) || len(helpers("help", session)) > 0 || len(helpers("helped", session+1)) > 0 {
		t.Error("the wrong processes are seen")
	}
	if err := awaitHelpers(t.Context(), "helped", session); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 700*time.Millisecond {
		t.Errorf("waited for %v only", took)
	}
	<-ended
}
