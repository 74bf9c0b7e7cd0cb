package dockerd

import (
	"context"
	"errors"
	"io"

	"github.com/docker/docker/client"
)

// Save streams an image out of any Docker daemon, as `docker save` does. host
// is the daemon's address; "" means $DOCKER_HOST, else the machine's own
// socket. The caller closes the stream.
func Save(ctx context.Context, host, image string) (io.ReadCloser, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	docker, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, err
	}
	saved, err := docker.ImageSave(ctx, []string{image})
	if err != nil {
		return nil, errors.Join(err, docker.Close())
	}
	return &savedImage{saved, docker}, nil
}

// savedImage closes the client with the stream.
type savedImage struct {
	io.ReadCloser
	docker *client.Client
}

func (s *savedImage) Close() error { return errors.Join(s.ReadCloser.Close(), s.docker.Close()) }
