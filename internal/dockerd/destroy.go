package dockerd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

// Destroy ends everything of this cluster on this node: containers, daemons,
// mounts, cgroups, the directories under RunDir and, with RemoveState, under
// StateDir; and the owners' networks. It works from what is on disk and in
// /proc, so also after a crash, in a process that started nothing. Run must
// have ended; a daemon that another living process supervises is an error.
// Calling it again is harmless.
func (h *Host) Destroy(ctx context.Context) error {
	if err := h.cfg.Check(); err != nil {
		return err
	}
	h.mu.Lock()
	running := h.running
	h.mu.Unlock()
	if running {
		return errors.New("destroy daemons: Run has not ended")
	}
	owners, err := h.cfg.owners()
	if err != nil {
		return err
	}
	ids := h.cfg.leftovers(owners)
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { errs[i] = h.destroyOne(ctx, h.cfg.pathsOf(id)) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err // the owner files stay: it can be tried again
	}
	for _, owner := range owners {
		if h.net == nil {
			break
		}
		if err := h.net.RemoveUser(ctx, owner); err != nil {
			errs = append(errs, fmt.Errorf("remove network of %s: %w", owner, err))
		}
	}
	errs = append(errs, h.removeCgroups(ctx, ""), removeEmpty(h.cfg.nodeRun()))
	if h.cfg.RemoveState {
		for _, id := range ids {
			errs = append(errs, os.RemoveAll(h.cfg.pathsOf(id).state))
		}
		errs = append(errs, removeEmpty(h.cfg.daemonsDir()))
	}
	return errors.Join(errs...)
}

// leftovers are the ids of all daemons of which anything is left.
func (c Config) leftovers(owners []string) []string {
	var ids []string
	for _, owner := range owners {
		ids = append(ids, c.paths(owner).id)
	}
	entries, _ := os.ReadDir(c.nodeRun()) // usually the same ones
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// destroyOne leaves of the daemon only its directory under StateDir.
func (h *Host) destroyOne(ctx context.Context, p paths) error {
	if lock, err := lockRoot(p); err == nil {
		defer unlockRoot(lock)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !h.cfg.RemoveState {
		emptyDaemon(ctx, p)
	}
	sockets := shimSockets(p)
	if h.cfg.RemoveState { // nothing is worth an orderly end
		if err := endProcs(ctx, p.exec, 0, kindDaemon, kindContainerd); err != nil {
			return err
		}
	}
	if err := h.manager.Stop(ctx, Unit{ID: p.id, ExecRoot: p.exec}); err != nil {
		return err
	}
	// Whatever the manager knew, nothing that could start a container may live.
	if err := endProcs(ctx, p.exec, 0, kindDaemon, kindContainerd, kindHelper); err != nil {
		return err
	}
	sockets = append(sockets, shimSockets(p)...)
	if err := h.killCgroup(ctx, p.id); err != nil {
		return err
	}
	if err := endProcs(ctx, p.exec, 0, kindShim, kindHelper); err != nil {
		return err
	}
	if err := unmountBelow(p.run, p.state, realPath(p.run), realPath(p.state)); err != nil {
		return err
	}
	for _, s := range sockets {
		if err := os.Remove(s); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove socket of shim: %w", err)
		}
	}
	if err := os.RemoveAll(p.run); err != nil {
		return fmt.Errorf("remove run directory: %w", err)
	}
	return h.removeCgroups(ctx, p.id)
}

// emptyDaemon removes the containers by Docker's own hand, where it answers, so
// that the data-root that stays does not remember them.
func emptyDaemon(ctx context.Context, p paths) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cli, err := connect(p)
	if err != nil {
		return
	}
	defer func() { _ = cli.Close() }() // it always says nil
	all, err := cli.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, startLimit())
	for _, s := range all {
		slots <- struct{}{}
		work.Go(func() {
			removeQuietly(ctx, cli, s.ID)
			<-slots
		})
	}
	work.Wait()
}

func removeQuietly(ctx context.Context, cli *client.Client, id string) {
	_ = cli.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}) // else it is killed below
}

// shimSockets are the sockets that shims listen on: containerd puts them into
// a directory that all containerds of the machine share.
func shimSockets(p paths) []string {
	files, _ := filepath.Glob(filepath.Join(p.exec, "containerd", "daemon", "io.containerd.runtime.v2.task", "*", "*", "address"))
	var sockets []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			if s, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "unix://"); ok {
				sockets = append(sockets, s)
			}
		}
	}
	return sockets
}

// cgroupDirs are the owner's cgroups (with "" the node's) in every hierarchy.
func (h *Host) cgroupDirs(id string) []string {
	below := CgroupPath(h.cfg.Systemd, h.cfg.nodeID(), id)
	base := h.cfg.cgroupFS()
	dirs, _ := filepath.Glob(filepath.Join(base, "*", below))
	if info, err := os.Stat(filepath.Join(base, below)); err == nil && info.IsDir() {
		dirs = append(dirs, filepath.Join(base, below))
	}
	return dirs
}

// killCgroup kills every process of the owner's containers.
func (h *Host) killCgroup(ctx context.Context, id string) error {
	err := until(ctx, 20*time.Second, func() (bool, error) {
		empty := true
		for _, dir := range h.cgroupDirs(id) {
			for _, pid := range pidsBelow(dir) {
				empty = false
				_ = syscall.Kill(pid, syscall.SIGKILL) // gone is fine
			}
		}
		return empty, nil
	})
	if err != nil {
		return fmt.Errorf("kill containers: %w", err)
	}
	return nil
}

func pidsBelow(dir string) []int {
	var pids []int
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil //nolint:nilerr // it went meanwhile
		}
		b, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for line := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeCgroups removes the owner's cgroups, or with "" the node's and the one
// above them if it is empty. The kernel lets go of one a little after its last
// process.
func (h *Host) removeCgroups(ctx context.Context, id string) error {
	err := until(ctx, 10*time.Second, func() (bool, error) {
		dirs := h.cgroupDirs(id)
		for _, dir := range dirs {
			var below []string
			_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err == nil && e.IsDir() {
					below = append(below, path)
				}
				return nil
			})
			for _, path := range slices.Backward(below) {
				_ = syscall.Rmdir(path) // looked at again
			}
			if id == "" {
				_ = syscall.Rmdir(filepath.Dir(dir)) // stays while other nodes have theirs
			}
		}
		return len(h.cgroupDirs(id)) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("remove cgroups %s: %w", h.cgroupDirs(id), err)
	}
	return nil
}

// unmountBelow unmounts everything on or below the directories, the last
// mounted first.
func unmountBelow(dirs ...string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, at := range slices.Backward(mountsBelow(b, dirs...)) {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
	return nil
}

// realPath is the path as the kernel lists mounts: without symbolic links.
func realPath(p string) string {
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	return p
}

// mountsBelow reads mountinfo: the mount points on or below dirs, in order.
func mountsBelow(mountinfo []byte, dirs ...string) []string {
	var found []string
	for lines := bufio.NewScanner(bytes.NewReader(mountinfo)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		at := unescape(fields[4])
		if slices.ContainsFunc(dirs, func(d string) bool { return at == d || strings.HasPrefix(at, d+"/") }) {
			found = append(found, at)
		}
	}
	return found
}

// unescape undoes the kernel's \040 and the like.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// removeEmpty removes a directory that nothing is left in; another one is none
// of ours alone.
func removeEmpty(dir string) error {
	err := os.Remove(dir)
	if err == nil || os.IsNotExist(err) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}
