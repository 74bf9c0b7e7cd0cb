package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"longshore/internal/hostnet"
	"longshore/internal/placement"
)

// Daemons are the PIDs of the node's dockerds and containerds (not of the shims,
// which hold the containers).
func (n *Node) Daemons(program string) []int {
	var pids []int
	for pid, argv := range commands() {
		if filepath.Base(argv[0]) == program && strings.Contains(strings.Join(argv, " "), n.RunDir+"/") {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// KillDaemons kills the node's dockerds with SIGKILL.
func (n *Node) KillDaemons() {
	for _, pid := range n.Daemons("dockerd") {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

// KillWhole kills the node as a power cut of its management would: agentd,
// hostinfod, every dockerd and containerd, and its address is gone. What ran in
// its containers goes on, unseen.
func (n *Node) KillWhole() {
	n.c.t.Helper()
	n.Agent.Kill()
	n.Hostinfo.Kill()
	n.KillDaemons()
	for _, pid := range n.Daemons("containerd") {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := n.c.bridge.RemoveNodeAddress(n.c.t.Context(), placement.NodeID(n.Name)); err != nil {
		n.c.t.Fatal(err)
	}
}

// Revive starts a node that was killed whole.
func (n *Node) Revive() {
	n.c.t.Helper()
	if _, err := n.c.bridge.AddNodeAddress(n.c.t.Context(), placement.NodeID(n.Name)); err != nil {
		n.c.t.Fatal(err)
	}
	n.Agent.Start()
	n.Hostinfo.Start()
}

// KillDaemon kills one of the node's dockerds with SIGKILL, pick modulo how
// many there are, and returns its PID; 0 if none runs.
func (n *Node) KillDaemon(pick int) int {
	pids := n.Daemons("dockerd")
	if len(pids) == 0 {
		return 0
	}
	pid := pids[pick%len(pids)]
	if syscall.Kill(pid, syscall.SIGKILL) != nil {
		return 0
	}
	return pid
}

// PowerOff ends everything on the node at once, containers included, and what
// a reboot forgets is gone: its run directory, mounts, bridges and rules.
func (n *Node) PowerOff() {
	n.c.t.Helper()
	n.Agent.Kill()
	n.Hostinfo.Kill()
	for _, pid := range append(n.Daemons("dockerd"), n.Daemons("containerd")...) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	Eventually(n.c.t, 15*time.Second, "everything on "+n.Name+" ends", func() error {
		left := n.family()
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) > 0 {
			return fmt.Errorf("%d processes", len(left))
		}
		return nil
	})
	if err := n.unmount(); err != nil {
		n.c.t.Fatal(err)
	}
	if err := hostnet.Sweep(n.c.t.Context(), n.c.ID, placement.NodeID(n.Name)); err != nil {
		n.c.t.Fatal(err)
	}
	if err := os.RemoveAll(n.RunDir); err != nil {
		n.c.t.Fatal(err)
	}
	if err := n.c.bridge.RemoveNodeAddress(n.c.t.Context(), placement.NodeID(n.Name)); err != nil {
		n.c.t.Fatal(err)
	}
}

// Boot starts a node that was powered off.
func (n *Node) Boot() { n.c.t.Helper(); n.Revive() }

// family are the PIDs of everything that names the node's run directory, and
// of all that descends from them.
func (n *Node) family() (pids []int) {
	children := map[int][]int{}
	all := commands()
	for pid := range all {
		children[parent(pid)] = append(children[parent(pid)], pid)
	}
	var add func(pid int)
	add = func(pid int) {
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
			for _, child := range children[pid] {
				add(child)
			}
		}
	}
	for pid, argv := range all {
		if strings.Contains(strings.Join(argv, " "), n.RunDir+"/") {
			add(pid)
		}
	}
	return pids
}

// parent is the PID of a process's parent; 0: it has ended.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	ppid, _ := strconv.Atoi(string(fields[1])) // the kernel writes a number
	return ppid
}

// unmount takes away all that is mounted below the node's directories, the
// last first.
func (n *Node) unmount() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var at []string
	for line := range strings.Lines(string(mounts)) {
		path := strings.Fields(line)[4]
		if strings.HasPrefix(path, n.RunDir+"/") || strings.HasPrefix(path, n.StateDir+"/") {
			at = append(at, path)
		}
	}
	slices.Reverse(at)
	for _, path := range at {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return nil
}
