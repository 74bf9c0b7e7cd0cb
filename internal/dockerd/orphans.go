package dockerd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// endOrphans ends the containers that run and that their daemon does not know
// to run: it was killed between their start, or their end, and its note of it.
// It would never list, stop or remove them, nor start them again ("task already
// exists"). Neither the daemon nor its containerd may run.
func endOrphans(ctx context.Context, p paths) error {
	// Again until none is found: a shim that is just starting is another process
	// in the next moment.
	err := until(ctx, 10*time.Second, func() (bool, error) {
		shims, err := findProcs(p.exec, kindShim)
		if err != nil {
			return false, err
		}
		found := false
		for _, s := range shims {
			if id := shimContainer(s.pid); id == "" || notedRunning(p, id) {
				continue
			}
			found = true
			if err := killTree(s.pid); err != nil {
				return false, err
			}
		}
		return !found, nil
	})
	if err != nil {
		return fmt.Errorf("end containers that dockerd does not know of: %w", err)
	}
	return nil
}

// killTree kills what a shim holds, then the shim, which holds it together.
func killTree(shim int) error {
	of, err := children(shim)
	for _, pid := range append(of, shim) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone is fine
	}
	return err
}

// shimContainer is the ID of the container that a shim holds; "" if it is gone.
func shimContainer(pid int) string {
	line := argv(pid)
	if i := slices.Index(line, "-id"); i >= 0 && i+1 < len(line) {
		return line[i+1]
	}
	return ""
}

// notedRunning tells whether the daemon's own record of the container says
// that it runs. One that cannot be read says no more than that: its container
// is left alone, but one that is not there knows of no container.
func notedRunning(p paths, id string) bool {
	b, err := os.ReadFile(filepath.Join(p.root, "containers", id, "config.v2.json"))
	if os.IsNotExist(err) {
		return false
	}
	var config struct {
		State struct{ Running bool }
	}
	return err != nil || json.Unmarshal(b, &config) != nil || config.State.Running
}
