package dockerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"
)

// lookAtBridge repairs what somebody took from under the running daemon: the
// bridge and its rules, and, when the bridge was another one, the net
// containers that hung on it. Only what is seen bare twice counts, since a net
// container that is just starting is not on the bridge yet.
func (d *daemon) lookAtBridge(ctx context.Context, c *conn, bare *int) {
	if _, err := d.h.net.EnsureUser(ctx, d.owner); err != nil {
		d.log.Warn("network is not repaired", "err", err)
		return
	}
	ports, err := os.ReadDir(filepath.Join("/sys/class/net", c.net.Bridge, "brif"))
	if err != nil || len(ports) > 0 {
		*bare = 0
		return
	}
	if *bare++; *bare < 2 {
		return
	}
	*bare = 0
	d.log.Warn("bridge was lost: net containers are put on it again")
	if err := d.restartNets(ctx, c); err != nil {
		d.log.Warn("net containers are not on their bridge", "err", err)
	}
}

// restartNets restarts every net container that runs. Their deaths are seen by
// supervise, which then restarts what is joined to them.
func (d *daemon) restartNets(ctx context.Context, c *conn) error {
	all, err := c.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelNet))})
	if err != nil {
		return fmt.Errorf("list net containers: %w", err)
	}
	var work errgroup.Group
	work.SetLimit(startLimit())
	for _, s := range all {
		work.Go(func() error {
			seconds := 1
			return c.ContainerRestart(ctx, s.ID, container.StopOptions{Timeout: &seconds})
		})
	}
	return work.Wait()
}
