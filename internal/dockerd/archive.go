package dockerd

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"longshore/internal/placement"
)

// ReadFiles is a file or a directory of a copy's container, running or not, as
// a tar stream whose names begin with the last part of the path. The caller
// closes it; ctx ends it.
func (h *Host) ReadFiles(ctx context.Context, id placement.ID, path string) (io.ReadCloser, error) {
	c, have, err := h.reach(ctx, id)
	if err != nil {
		return nil, err
	}
	body, _, err := c.CopyFromContainer(ctx, have.ID, path)
	if errdefs.IsNotFound(err) {
		return nil, noPath(id, path)
	}
	if err != nil {
		return nil, classify(fmt.Sprintf("read %s of %s", path, id), err)
	}
	return body, nil
}

// WriteFiles unpacks a tar stream into a directory of a copy's container,
// running or not. After an error some of it may be there.
func (h *Host) WriteFiles(ctx context.Context, id placement.ID, dir string, tar io.Reader) error {
	c, have, err := h.reach(ctx, id)
	if err != nil {
		return err
	}
	err = c.CopyToContainer(ctx, have.ID, dir, tar, container.CopyToContainerOptions{})
	if errdefs.IsNotFound(err) {
		return noPath(id, dir)
	}
	return classify(fmt.Sprintf("write to %s of %s", dir, id), err)
}

func noPath(id placement.ID, path string) error {
	return &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("%s has no %s", id.Replica(), path)}
}
