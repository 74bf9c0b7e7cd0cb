package dockerd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what the owners of a node have taken.
type Usage struct {
	CPU    time.Duration // of all containers, since each daemon's cgroup was made; it only grows while the owners stay
	Memory int64         // bytes that cannot be freed: containers, and the daemons themselves
	Disk   int64         // bytes of data-roots, as [Observer.Disk] last measured them
	Owners []OwnerUsage  // by directory name
}

// OwnerUsage is one owner's part of a Usage.
type OwnerUsage struct {
	Owner  string
	CPU    time.Duration
	Memory int64 // containers
	Daemon int64 // bytes of anonymous memory of dockerd and containerd
	Disk   int64
}

// Used measures what the owners' containers and daemons use, from cgroup files
// and /proc: about a millisecond for each owner. An owner that has not run
// anything counts 0.
func (o *Observer) Used(context.Context) (Usage, error) {
	owners, err := o.cfg.owners()
	if err != nil {
		return Usage{}, err
	}
	var sum Usage
	for _, owner := range owners {
		p := o.cfg.paths(owner)
		u := OwnerUsage{Owner: owner}
		u.Memory, u.CPU, err = CgroupUsed(os.DirFS(o.cfg.cgroupFS()), CgroupPath(o.cfg.Systemd, o.cfg.nodeID(), p.id))
		if err != nil {
			return Usage{}, err
		}
		for _, f := range []string{p.pid, filepath.Join(p.exec, "containerd", "containerd.pid")} {
			u.Daemon += anonymous(readPID(f), p.exec)
		}
		o.mu.Lock()
		u.Disk = o.disk[owner]
		o.mu.Unlock()
		sum.CPU, sum.Memory, sum.Disk = sum.CPU+u.CPU, sum.Memory+u.Memory+u.Daemon, sum.Disk+u.Disk
		sum.Owners = append(sum.Owners, u)
	}
	return sum, nil
}

// Disk measures the data-roots by walking them, which may take seconds; Used
// tells the result until the next time. Files with several names count once.
func (o *Observer) Disk(ctx context.Context) error {
	owners, err := o.cfg.owners()
	if err != nil {
		return err
	}
	for _, owner := range owners {
		n, err := diskUsed(ctx, o.cfg.paths(owner).root)
		if err != nil {
			return err
		}
		o.mu.Lock()
		o.disk[owner] = n
		o.mu.Unlock()
	}
	return nil
}

func diskUsed(ctx context.Context, root string) (int64, error) {
	var sum int64
	var device uint64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return nil //nolint:nilerr // it went meanwhile
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it went meanwhile
		}
		st := info.Sys().(*syscall.Stat_t)
		if device == 0 {
			device = st.Dev
		}
		if st.Dev != device { // a mounted container: its files are counted where they lie
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !e.IsDir() && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		sum += st.Blocks * 512
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure disk: %w", err)
	}
	return sum, nil
}

// CgroupUsed reads what a cgroup and all below it use: memory that cannot be
// freed in bytes, and CPU time. fsys is where the cgroup file systems are
// mounted, with a directory per controller (v1) or one tree (v2); dir is the
// cgroup's path in them. A cgroup that is not there uses nothing.
func CgroupUsed(fsys fs.FS, dir string) (memory int64, cpu time.Duration, err error) {
	if _, err := fs.Stat(fsys, "cgroup.controllers"); err == nil {
		return usedV2(fsys, dir)
	}
	return usedV1(fsys, dir)
}

// usedV1: rss alone would leave out shared memory, which v1 counts as cache.
func usedV1(fsys fs.FS, dir string) (memory int64, cpu time.Duration, err error) {
	stat, err := readStat(fsys, path.Join("memory", dir, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	kernel, err := readNumber(fsys, path.Join("memory", dir, "memory.kmem.usage_in_bytes"))
	if err != nil {
		return 0, 0, err
	}
	nanos, err := readNumber(fsys, path.Join("cpuacct", dir, "cpuacct.usage"))
	if errors.Is(err, fs.ErrNotExist) { // mounted as one
		nanos, err = readNumber(fsys, path.Join("cpu,cpuacct", dir, "cpuacct.usage"))
	}
	return stat["total_rss"] + stat["total_shmem"] + kernel, time.Duration(nanos), err
}

func usedV2(fsys fs.FS, dir string) (memory int64, cpu time.Duration, err error) {
	stat, err := readStat(fsys, path.Join(dir, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	times, err := readStat(fsys, path.Join(dir, "cpu.stat"))
	if err != nil {
		return 0, 0, err
	}
	kernel, ok := stat["kernel"]
	if !ok { // before Linux 5.18
		kernel = stat["slab_unreclaimable"] + stat["kernel_stack"] + stat["pagetables"] + stat["percpu"]
	}
	return stat["anon"] + stat["shmem"] + kernel, time.Duration(times["usage_usec"]) * time.Microsecond, nil
}

// readStat reads "name number" lines; no file, no lines.
func readStat(fsys fs.FS, name string) (map[string]int64, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("read cgroup: %w", err)
	}
	stat := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			stat[key] = n
		}
	}
	return stat, nil
}

func readNumber(fsys fs.FS, name string) (int64, error) {
	b, err := fs.ReadFile(fsys, name)
	if gone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read cgroup: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// gone: the cgroup was removed before, or while it was read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) }

// anonymous is the memory in bytes that a daemon's process has for itself. Its
// resident size would count the program's text, which all daemons share.
func anonymous(pid int, execRoot string) int64 {
	if pid == 0 || procKind(pid, execRoot) == "" {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var sum int64
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var kib int64
		switch name, value, _ := strings.Cut(lines.Text(), ":"); name {
		case "RssAnon", "RssShmem":
			kib, _ = strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			sum += kib << 10
		}
	}
	return sum
}
