package dockerd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"longshore/internal/placement"
)

// Spec is a container to create.
type Spec struct {
	Cluster string
	ID      placement.ID
	Epoch   placement.Epoch
	Gen     uint64
	Request placement.Request
	// Needs is what is reserved for it, if that is not Request.Needs because
	// the node gave it a default.
	Needs placement.Resources
}

func (s Spec) needs() placement.Resources {
	if s.Needs == (placement.Resources{}) {
		return s.Request.Needs
	}
	return s.Needs
}

const (
	minMemory = 6 << 20 // Docker refuses less
	minCPU    = 10      // the kernel refuses less: 1 ms of each 100
)

// limits are the caps for Docker, 0 being none, and the weights that what it
// needs gives it beside others. A reservation is no cap, as in Compose: with a
// quota of a few hundredths of a core the start alone takes seconds. cores is
// how many the machine has, which Docker lets nobody pass.
func (s Spec) limits(cores int) container.Resources {
	needs, limits := s.needs(), s.Request.Limits
	var r container.Resources
	if limits.CPU > 0 {
		r.NanoCPUs = min(max(limits.CPU, minCPU), int64(cores)*1000) * 1_000_000
	}
	if limits.Memory > 0 {
		r.Memory = max(limits.Memory, minMemory)
		r.MemorySwap = r.Memory // no swap
	}
	if needs.CPU > 0 {
		r.CPUShares = max(2, needs.CPU*1024/1000)
	}
	if needs.Memory > 0 {
		r.MemoryReservation = max(needs.Memory, minMemory)
		if r.Memory > 0 {
			r.MemoryReservation = min(r.MemoryReservation, r.Memory)
		}
	}
	return r
}

// Create makes the placement's container, not yet started, joined to the
// owner's net container, or to one of its own. The image must be there ([Host.Pull]).
// If a container of the placement exists, of any epoch, the error is an
// [ExistsError]. Otherwise it is ErrRefused or ErrUnknown.
func (h *Host) Create(ctx context.Context, s Spec) error {
	if s.Cluster != h.cfg.Cluster {
		return &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s is of cluster %q", s.ID, s.Cluster), Why: "this node serves " + h.cfg.Cluster}
	}
	ref, err := h.reference(s.Request.Image)
	if err != nil {
		return err
	}
	c, err := h.ready(ctx, s.ID.Owner())
	if err != nil {
		return err
	}
	d := h.daemon(s.ID.Owner())
	netID := d.sharedNet(c)
	if s.Request.Net == placement.NetReplica {
		if exists, err := h.existing(ctx, c, s.ID); exists != nil || err != nil {
			return errors.Join(err, exists)
		}
		if netID, err = d.ownNet(ctx, c, s); err != nil {
			return classify("create "+string(s.ID), err)
		}
	}
	_, err = c.ContainerCreate(ctx,
		&container.Config{Image: ref, Cmd: s.Request.Command, Env: s.Request.Env, Labels: h.cfg.labels(s)},
		&container.HostConfig{
			NetworkMode:   container.NetworkMode("container:" + netID),
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			Resources:     s.limits(runtime.NumCPU()),
		}, nil, nil, s.ID.ContainerName())
	if err == nil {
		return nil
	}
	if s.Request.Net == placement.NetReplica && answered(err) {
		err = errors.Join(err, d.dropOwnNet(context.WithoutCancel(ctx), c, s.ID, s.Epoch))
	}
	if errdefs.IsConflict(err) {
		if exists, e := h.existing(ctx, c, s.ID); exists != nil || e != nil {
			return errors.Join(e, exists)
		}
	}
	return classify("create "+string(s.ID), err)
}

// existing is an *ExistsError, as an error, if the placement has a container.
func (h *Host) existing(ctx context.Context, c *conn, id placement.ID) (exists, err error) {
	have, err := c.ContainerInspect(ctx, id.ContainerName())
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, classify("look for "+string(id), err)
	}
	return &ExistsError{ID: id, Epoch: placement.Epoch(have.Config.Labels[labelEpoch]), State: copyState(have.State.Status)}, nil
}

// Start starts the placement's container; one that runs is no error. ErrRefused
// means that it does not run, ErrUnknown that no answer came and it may.
func (h *Host) Start(ctx context.Context, owner string, id placement.ID) error {
	c, err := h.ready(ctx, owner)
	if err != nil {
		return err
	}
	select {
	case c.starts <- struct{}{}:
		defer func() { <-c.starts }()
	case <-ctx.Done():
		return fmt.Errorf("start %s: wait for a slot: %w", id, context.Cause(ctx))
	}
	var started error
	err = until(ctx, 5*time.Second, func() (bool, error) {
		started = c.ContainerStart(ctx, id.ContainerName(), container.StartOptions{})
		// A net container that just died is being started again.
		return started == nil || !strings.Contains(started.Error(), "non running container"), nil
	})
	if started == nil && err != nil {
		started = err
	}
	return classify("start "+string(id), started)
}

// Remove stops the placement's container of exactly epoch e, with SIGTERM and
// after grace SIGKILL, and removes it and its own net container; volumes stay.
// If it is not there, or is of another epoch, there is nothing to do: nil.
// Grace 0 is for a copy that never started: one that runs after all is left
// alone, and the error is an [ErrRunning].
func (h *Host) Remove(ctx context.Context, owner string, id placement.ID, e placement.Epoch, grace time.Duration) error {
	if known, err := h.known(owner); err != nil || !known {
		return err
	}
	c, err := h.ready(ctx, owner)
	if err != nil {
		return err
	}
	what := "remove " + string(id)
	have, err := c.ContainerInspect(ctx, id.ContainerName())
	switch {
	case errdefs.IsNotFound(err):
		return classify(what, h.daemon(owner).dropOwnNet(ctx, c, id, e))
	case err != nil:
		return classify(what, err)
	case have.Config.Labels[labelEpoch] != string(e) || have.Config.Labels[labelID] != string(id):
		return nil
	}
	if err := end(ctx, c, have.ID, grace); err != nil {
		return classify(what, err)
	}
	return classify(what, h.daemon(owner).dropOwnNet(ctx, c, id, e))
}

// end stops a container and removes it. Without grace one that runs is left
// alone: Docker finishes a start that is under way before it looks.
func end(ctx context.Context, c *conn, id string, grace time.Duration) error {
	seconds := int((grace + time.Second - 1) / time.Second)
	if seconds > 0 {
		if err := c.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return removeWhole(ctx, c, id)
	}
	err := c.ContainerRemove(ctx, id, container.RemoveOptions{})
	switch {
	case err == nil || errdefs.IsNotFound(err):
		return nil
	case !errdefs.IsConflict(err):
		return err
	}
	if now, err := c.ContainerInspect(ctx, id); err == nil && now.State.Running {
		return ErrRunning
	}
	return removeWhole(ctx, c, id)
}

// removeWhole removes a container and returns when it is gone, also when
// somebody else is removing it.
func removeWhole(ctx context.Context, c *conn, id string) error {
	err := discard(ctx, c, id)
	if !errdefs.IsConflict(err) {
		return err
	}
	return until(ctx, 30*time.Second, func() (bool, error) {
		_, err := c.ContainerInspect(ctx, id)
		if errdefs.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// copyState reads Docker's word for what a container does.
func copyState(s string) placement.CopyState {
	switch s {
	case container.StateCreated:
		return placement.CopyCreated
	case container.StateRunning, container.StatePaused, container.StateRestarting:
		return placement.CopyRunning
	default: // exited, dead, and removing, which is not gone yet
		return placement.CopyExited
	}
}
