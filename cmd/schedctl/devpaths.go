package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"longshore/cmd/internal/wiring"
	"longshore/internal/placement"
)

// devPaths says where the dev cluster of one name lives.
type devPaths struct{ state, run string }

func newDevPaths(name string) devPaths {
	return devPaths{
		state: filepath.Join("/var/lib/longshore-dev", name),
		run:   filepath.Join("/run/longshore-dev", name),
	}
}

func (p devPaths) socket() string      { return filepath.Join(p.run, "broadcaster.sock") }
func (p devPaths) clusterFile() string { return filepath.Join(p.state, "cluster") }
func (p devPaths) lockFile() string    { return p.state + ".lock" }

// node is the configuration of one node, as far as its place tells.
func (p devPaths) node(name string) wiring.NodeConfig {
	return wiring.NodeConfig{
		Node:     placement.NodeID(name),
		StateDir: filepath.Join(p.state, "nodes", name),
		RunDir:   filepath.Join(p.run, name),
	}
}

// nodes lists the nodes that have state.
func (p devPaths) nodes() []string {
	entries, _ := os.ReadDir(filepath.Join(p.state, "nodes")) // none: no node
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// cluster is the ID that the cluster of this name was given; "": none yet.
func (p devPaths) cluster() string {
	b, _ := os.ReadFile(p.clusterFile()) // not there: none yet
	return strings.TrimSpace(string(b))
}

// left tells whether a former cluster left anything.
func (p devPaths) left() bool {
	for _, dir := range []string{p.state, p.run} {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	return false
}

// lock lets one dev of this name, or its janitor, be at work at a time. The
// lock ends with the last process that has the file open, or by unlock.
func (p devPaths) lock(name string) (*os.File, error) {
	for range 100 {
		f, err := p.tryLock()
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
			continue // the file or its directory came or went with another holder
		case errors.Is(err, syscall.EWOULDBLOCK):
			return nil, &placement.Error{
				Kind: placement.KindRefused,
				What: fmt.Sprintf("a dev cluster named %q is up already, or is just being removed", name),
				Why:  p.lockFile() + " is locked",
				Next: "use it, end it, or start another: schedctl dev --name OTHER",
			}
		case err != nil:
			return nil, fmt.Errorf("lock the dev cluster: %w", err)
		}
		return f, nil
	}
	return nil, fmt.Errorf("lock the dev cluster: %s comes and goes", p.lockFile())
}

// tryLock locks the file. It does not exist if it was removed meanwhile.
func (p devPaths) tryLock() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(p.state), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	mine, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	named, err := os.Stat(p.lockFile())
	if err == nil && !os.SameFile(mine, named) {
		err = fs.ErrNotExist // another has made it anew
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unlock removes the lock's file, and the directories that all dev clusters
// share if this was the last one. Only the holder may call it.
func (p devPaths) unlock() error {
	if err := os.Remove(p.lockFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unlock the dev cluster: %w", err)
	}
	for _, dir := range []string{filepath.Dir(p.state), filepath.Dir(p.run)} {
		_ = os.Remove(dir) // stays while other clusters have theirs
	}
	return nil
}
