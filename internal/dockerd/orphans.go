package dockerd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	argv := strings.Split(string(b), "\x00")
	if i := slices.Index(argv, "-id"); i >= 0 && i+1 < len(argv) {
		return argv[i+1]
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

// children are the processes whose parent is pid.
func children(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var of []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid: the name may hold anything, brackets too.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			of = append(of, child)
		}
	}
	return of, nil
}
