package dockerd

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
)

// ensureNets makes the shared net container be there and run, starts again the
// others that should run, and restarts what is joined to a namespace that no
// longer is its net container's. With sweep, net containers of placements that
// have no container go.
func (d *daemon) ensureNets(ctx context.Context, c *conn, sweep bool) error {
	all, err := c.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var shared string
	own := map[placement.ID]netip.Addr{}
	for _, s := range all {
		switch s.Labels[labelNet] {
		case netShared:
			shared, err = s.ID, d.reviveShared(ctx, c, s)
			if err != nil {
				return err
			}
		case netReplica:
			id := placement.ID(s.Labels[labelNetOf])
			if d.reviveOwn(ctx, c, s, hasName(all, id.ContainerName()), sweep) {
				own[id], _ = netip.ParseAddr(s.Labels[labelAddress])
			}
		}
	}
	if shared == "" {
		if shared, err = d.makeNet(ctx, c, netContainer, c.net.NetContainer, map[string]string{labelNet: netShared}); err != nil {
			return err
		}
	}
	d.mu.Lock()
	c.netID = shared
	if c.own == nil { // later ones come and go with their placements
		c.own = own
	}
	d.mu.Unlock()
	return d.rejoin(ctx, c)
}

func (d *daemon) reviveShared(ctx context.Context, c *conn, s container.Summary) error {
	if have := s.Labels[labelAddress]; have != c.net.NetContainer.String() {
		return &placement.Error{
			Kind: placement.KindRefused,
			What: fmt.Sprintf("the net container of %s on %s has the address %s", d.owner, d.h.cfg.Node, have),
			Why:  "its network now says " + c.net.NetContainer.String(),
			Next: "give the owner the old address again, or remove the owner's containers on this node",
		}
	}
	return revive(ctx, c, s)
}

// reviveOwn starts a placement's own net container again while the placement
// has a container; kept tells whether it is still there.
func (d *daemon) reviveOwn(ctx context.Context, c *conn, s container.Summary, wanted, sweep bool) (kept bool) {
	var err error
	switch {
	case wanted:
		err = revive(ctx, c, s)
	case sweep:
		err = discard(ctx, c, s.ID)
	}
	if err != nil { // of one placement alone: tried again at the next look
		d.log.Warn("net container is not repaired", "placement", s.Labels[labelNetOf], "err", err)
		d.sick.Store(true)
	}
	return wanted || !sweep
}

func revive(ctx context.Context, c *conn, s container.Summary) error {
	if s.State == container.StateRunning {
		return nil
	}
	if err := c.ContainerStart(ctx, s.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("start net container: %w", err)
	}
	return nil
}

func hasName(all []container.Summary, name string) bool {
	for _, s := range all {
		if slices.Contains(s.Names, "/"+name) {
			return true
		}
	}
	return false
}

// makeNet creates and starts a net container.
func (d *daemon) makeNet(ctx context.Context, c *conn, name string, addr netip.Addr, labels map[string]string) (string, error) {
	image, err := d.ensurePause(ctx, c)
	if err != nil {
		return "", err
	}
	labels[labelV] = strconv.Itoa(placement.Format)
	labels[labelCluster] = d.h.cfg.Cluster
	labels[labelNode] = string(d.h.cfg.Node)
	labels[labelAddress] = addr.String()
	made, err := c.ContainerCreate(ctx,
		&container.Config{Image: image, Labels: labels},
		&container.HostConfig{
			NetworkMode:    netName,
			RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
			LogConfig:      container.LogConfig{Type: "none"},
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
			SecurityOpt:    []string{"no-new-privileges"},
		},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			netName: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: addr.String()}},
		}}, nil, name)
	if err != nil {
		return "", fmt.Errorf("create net container: %w", err)
	}
	if err := c.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		_ = discard(context.WithoutCancel(ctx), c, made.ID) // nothing is joined to it yet
		return "", fmt.Errorf("start net container: %w", err)
	}
	return made.ID, nil
}

// ownNet makes the placement's own net container. One that a copy before left
// behind is replaced; the caller knows that nothing is joined to it.
func (d *daemon) ownNet(ctx context.Context, c *conn, s Spec) (string, error) {
	name := netNameOf(s.ID)
	if err := discard(ctx, c, name); err != nil {
		return "", err
	}
	tried := map[netip.Addr]bool{}
	for {
		d.mu.Lock()
		for _, a := range c.own {
			tried[a] = true
		}
		addr := PickAddress(c.net, s.ID, tried)
		if addr.IsValid() {
			c.own[s.ID] = addr
		}
		d.mu.Unlock()
		if !addr.IsValid() {
			return "", fmt.Errorf("create net container: no address is free in %s", c.net.Subnet)
		}
		id, err := d.makeNet(ctx, c, name, addr, map[string]string{labelNet: netReplica, labelNetOf: string(s.ID), labelEpoch: string(s.Epoch)})
		if err == nil {
			return id, nil
		}
		d.forgetNet(c, s.ID)
		if !strings.Contains(err.Error(), "Address already in use") {
			return "", err
		}
		tried[addr] = true // somebody's own docker run has it
	}
}

// dropOwnNet removes the placement's own net container if it is of epoch e.
func (d *daemon) dropOwnNet(ctx context.Context, c *conn, id placement.ID, e placement.Epoch) error {
	have, err := c.ContainerInspect(ctx, netNameOf(id))
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if have.Config.Labels[labelEpoch] != string(e) {
		return nil
	}
	if err := discard(ctx, c, have.ID); err != nil {
		return err
	}
	d.forgetNet(c, id)
	return nil
}

func (d *daemon) forgetNet(c *conn, id placement.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(c.own, id)
}

// rejoin restarts every running container whose network namespace is not the
// one of the net container it names: the engine keeps them in the dead one. A
// container whose net container is no more can never be reached again, and is
// stopped, which is told as the exit it is.
func (d *daemon) rejoin(ctx context.Context, c *conn) error {
	running, err := c.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	spaces := map[string]string{} // by net container
	var work errgroup.Group
	work.SetLimit(startLimit())
	for _, s := range running {
		netID, joined := strings.CutPrefix(s.HostConfig.NetworkMode, "container:")
		if !joined {
			continue
		}
		if _, ok := spaces[netID]; !ok {
			if spaces[netID], err = namespace(ctx, c, netID); err != nil {
				return err
			}
		}
		want := spaces[netID]
		work.Go(func() error {
			err := d.rejoinOne(ctx, c, s.ID, want)
			if err != nil { // of one container alone: tried again at the next look
				d.log.Warn("container is not joined to its net container again", "placement", s.Labels[labelID], "err", err)
				d.sick.Store(true)
			}
			return nil
		})
	}
	return work.Wait()
}

const noNet = "no such container" // as a namespace

func (d *daemon) rejoinOne(ctx context.Context, c *conn, id, want string) error {
	have, err := namespace(ctx, c, id)
	if err != nil || want == "" || have == "" || have == noNet || have == want {
		return err
	}
	seconds := 10
	grace := container.StopOptions{Timeout: &seconds}
	if want == noNet {
		return c.ContainerStop(ctx, id, grace)
	}
	done := d.h.repairs.begin(d.owner, id)
	err = c.ContainerRestart(ctx, id, grace)
	done(err)
	return err
}

// namespace identifies the network namespace of a container: "" if it does not
// run, noNet if there is none.
func namespace(ctx context.Context, c *conn, id string) (string, error) {
	have, err := c.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return noNet, nil
	}
	if err != nil {
		return "", fmt.Errorf("inspect container: %w", err)
	}
	if have.State.Pid == 0 {
		return "", nil
	}
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", have.State.Pid))
	if err != nil {
		return "", nil //nolint:nilerr // it ended meanwhile
	}
	return space, nil
}

// settle waits until the engine knows what its own event said: for some
// milliseconds after a death it still lists the container as running.
func settle(ctx context.Context, c *conn, id string) error {
	return until(ctx, 5*time.Second, func() (bool, error) {
		have, err := c.ContainerInspect(ctx, id)
		if errdefs.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		return !have.State.Running || syscall.Kill(have.State.Pid, 0) == nil, nil
	})
}

// discard removes a container, running or not; one that is not there is done.
func discard(ctx context.Context, c *conn, id string) error {
	err := c.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove container: %w", err)
	}
	return nil
}
