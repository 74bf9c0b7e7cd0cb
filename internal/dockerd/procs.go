package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kinds of processes that belong to a daemon.
const (
	kindDaemon     = "dockerd"
	kindContainerd = "containerd"
	kindShim       = "shim"
	kindHelper     = "helper"
)

// proc is a process that names a daemon's exec-root in its arguments.
type proc struct {
	pid  int
	kind string
}

// findProcs lists the live processes of the daemon with this exec-root, of the
// given kinds. They are known by their arguments, since pid files lie after a
// crash. Zombies have no arguments and so do not count.
func findProcs(execRoot string, kinds ...string) ([]proc, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	var found []proc
	for _, pid := range all {
		if kind := procKind(pid, execRoot); slices.Contains(kinds, kind) {
			found = append(found, proc{pid, kind})
		}
	}
	return found, nil
}

// pids are the numbers of all processes.
func pids() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all, nil
}

// children are the processes whose parent is pid.
func children(pid int) ([]int, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(child int) bool { return parent(child) != pid }), nil
}

// parent is the parent of a process; 0 if it has ended.
func parent(pid int) int { return statField(pid, 1) }

// session is the leader of a process's session; 0 if it has ended.
func session(pid int) int { return statField(pid, 3) }

// statField is a number of /proc/<pid>/stat, counted from the state, which is
// 0: "pid (name) state ppid pgrp session". 0 if the process has ended.
func statField(pid, n int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name may hold anything, brackets too.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) <= n {
		return 0
	}
	number, _ := strconv.Atoi(fields[n])
	return number
}

// argv is the command line of a process; nil if it has ended.
func argv(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}

// procKind is "" for a process that is none of the daemon's, or is gone.
func procKind(pid int, execRoot string) string {
	line := argv(pid)
	if len(line) == 0 {
		return ""
	}
	return kindOf(line, execRoot)
}

func kindOf(argv []string, execRoot string) string {
	if !slices.ContainsFunc(argv[1:], func(a string) bool { return a == execRoot || strings.HasPrefix(a, execRoot+"/") }) {
		return ""
	}
	switch name := filepath.Base(argv[0]); {
	case name == "dockerd":
		return kindDaemon
	case name == "containerd":
		return kindContainerd
	case strings.HasPrefix(name, "containerd-shim"):
		return kindShim
	case name == "runc", name == "docker-proxy", name == "docker-init", name == "libnetwork-setkey":
		return kindHelper
	}
	return ""
}

// endProcs ends the processes of the given kinds: SIGTERM, after patience
// SIGKILL (at once if patience is 0). It returns when they are gone, and an
// error if they are not within 10 s more.
func endProcs(ctx context.Context, execRoot string, patience time.Duration, kinds ...string) error {
	signal := syscall.SIGTERM
	for _, limit := range []time.Duration{patience, 10 * time.Second} {
		if limit > 0 {
			sent := map[int]bool{} // dockerd takes the third SIGTERM for impatience and leaves a mess
			err := until(ctx, limit, func() (bool, error) {
				procs, err := findProcs(execRoot, kinds...)
				for _, p := range procs {
					if !sent[p.pid] {
						sent[p.pid] = true
						_ = syscall.Kill(p.pid, signal) // gone is fine
					}
				}
				return len(procs) == 0, err
			})
			if !errors.Is(err, errPatience) {
				return err
			}
		}
		signal = syscall.SIGKILL
	}
	return fmt.Errorf("end processes of %s: %w", execRoot, errPatience)
}

// alive tells whether pid is the daemon itself, neither dead nor a zombie nor
// another process that got its number.
func alive(pid int, execRoot string) bool { return pid > 0 && procKind(pid, execRoot) == kindDaemon }

// readPID reads a pid file; 0 if there is none.
func readPID(file string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// clearStale makes it safe to start a daemon where another one ran: no
// containerd of it is left, nor a container that it does not know to run, and
// no pid file names a process, dead or not, that dockerd or containerd would
// take for its own. The daemon itself must not run.
func clearStale(ctx context.Context, p paths) error {
	if err := endProcs(ctx, p.exec, 5*time.Second, kindContainerd); err != nil {
		return err
	}
	if err := endOrphans(ctx, p); err != nil {
		return err
	}
	for _, f := range []string{p.pid, filepath.Join(p.exec, "containerd", "containerd.pid")} {
		if err := os.Remove(f); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove stale pid file: %w", err)
		}
	}
	return nil
}

var errPatience = errors.New("still there after the time allowed")

// until calls f each 20 ms till it says true or errs, ctx ends, or the limit
// has passed (errPatience).
func until(ctx context.Context, limit time.Duration, f func() (bool, error)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return errPatience
		case <-tick.C:
		}
	}
}
