package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"longshore/internal/placement"
)

// ErrEnded says that a container that was measured has ended.
var ErrEnded = errors.New("it has ended")

// Meter measures one run of one copy, from the files of its cgroup.
type Meter struct {
	fsys fs.FS
	dir  string
}

// Sample is what a copy uses.
type Sample struct {
	CPU    time.Duration // since it started
	Memory int64         // bytes that cannot be freed
	Pids   int           // processes and threads
}

// Meter begins to measure a running copy. Docker is asked once.
func (h *Host) Meter(ctx context.Context, id placement.ID) (*Meter, error) {
	_, have, err := h.reach(ctx, id)
	if err != nil {
		return nil, err
	}
	if !have.State.Running {
		return nil, &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s cannot be measured", id.Replica()), Why: "its container does not run"}
	}
	dir := CgroupPath(h.cfg.Systemd, h.cfg.nodeID(), h.cfg.paths(id.Owner()).id)
	if h.cfg.Systemd {
		dir = path.Join(dir, "docker-"+have.ID+".scope")
	} else {
		dir = path.Join(dir, have.ID)
	}
	return &Meter{fsys: os.DirFS(h.cfg.cgroupFS()), dir: dir}, nil
}

// Read measures; it costs some file reads. [ErrEnded] when the copy has ended.
func (m *Meter) Read() (s Sample, err error) {
	pids := path.Join(m.dir, "pids.current")
	if _, err := fs.Stat(m.fsys, "cgroup.controllers"); err != nil {
		pids = path.Join("pids", pids)
	}
	if _, err := fs.Stat(m.fsys, pids); gone(err) {
		return Sample{}, ErrEnded
	}
	if s.Memory, s.CPU, err = CgroupUsed(m.fsys, m.dir); err != nil {
		return Sample{}, err
	}
	n, err := readNumber(m.fsys, pids)
	s.Pids = int(n)
	return s, err
}
