package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"longshore/cmd/internal/wiring"
	"longshore/internal/dockerd"
	"longshore/internal/images"
	"longshore/internal/placement"
)

// pushConfig is the command line of `schedctl image push`.
type pushConfig struct {
	tar    string
	binary string
	expose []uint
	env    []string
	docker string
}

func (a *app) image() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Put images into the cluster's registry"}
	cmd.AddCommand(a.imagePush())
	return cmd
}

func (a *app) imagePush() *cobra.Command {
	var cfg pushConfig
	cmd := &cobra.Command{
		Use:   "push TAG",
		Short: "Push an image into the cluster's registry, as the owner's",
		Long: `Push takes TAG from a Docker daemon (--docker), from a tar that "docker save" or
an OCI tool wrote (--tar), or makes it of one static program, FROM scratch
(--binary). It is the owner's alone: alice's shop:latest is no other owner's.`,
		Example: "  schedctl image push shop:latest\n  schedctl image push shop:latest --tar shop.tar\n  schedctl image push hello:latest --binary bin/hello --expose 8080",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.push(cmd.Context(), cfg, args[0]) },
	}
	cmd.Flags().StringVar(&cfg.tar, "tar", "", `take it from this file ("-": standard input)`)
	cmd.Flags().StringVar(&cfg.binary, "binary", "", "make it of this static program")
	cmd.Flags().UintSliceVar(&cfg.expose, "expose", nil, "with --binary: TCP port that the program listens on; may be repeated")
	cmd.Flags().StringArrayVar(&cfg.env, "env", nil, "with --binary: NAME=VALUE in its environment; may be repeated")
	cmd.Flags().StringVar(&cfg.docker, "docker", "", "address of the Docker daemon (default: $DOCKER_HOST, else unix:///var/run/docker.sock)")
	return cmd
}

// check refuses what contradicts itself.
func (cfg pushConfig) check() error {
	sources := 0
	for _, from := range []string{cfg.tar, cfg.binary, cfg.docker} {
		if from != "" {
			sources++
		}
	}
	if sources > 1 {
		return usage("give one of --docker, --tar and --binary", "an image is taken from one place")
	}
	if cfg.binary == "" && len(cfg.expose)+len(cfg.env) > 0 {
		return usage("an image that is there already says itself what it exposes", "--expose and --env go with --binary")
	}
	for _, p := range cfg.expose {
		if p < 1 || p > 65535 {
			return usage("ports are 1 to 65535", "--expose %d is no port", p)
		}
	}
	return nil
}

func (a *app) push(ctx context.Context, cfg pushConfig, tag string) error {
	if err := cfg.check(); err != nil {
		return err
	}
	owner, err := a.ownerName()
	if err != nil {
		return err
	}
	var registry string
	if err := a.call(ctx, "registry", &registry); err != nil {
		return err
	}
	to, err := a.destination(registry, owner)
	if err != nil {
		return err
	}
	show, clear := a.meter("pushing " + tag)
	digest, err := a.pushTo(ctx, cfg, to, tag, show)
	clear()
	if err != nil {
		return err
	}
	if a.json {
		a.object(map[string]string{"owner": owner, "tag": tag, "digest": digest})
		return nil
	}
	fmt.Fprintf(a.stdout, "pushed %s of %s: %s\n", tag, owner, digest)
	return nil
}

// destination is the registry that the broadcaster told of. One with TLS wants
// a certificate, but on a socket of its own those who may use the broadcaster's.
func (a *app) destination(registry, owner string) (images.Destination, error) {
	endpoint, err := a.findEndpoint()
	if err != nil {
		return images.Destination{}, err
	}
	to := images.Destination{Registry: wiring.RegistryURL(endpoint, registry), Owner: owner}
	if !strings.HasPrefix(to.Registry, "https://") {
		return to, nil
	}
	if near, ok := wiring.LocalImages(endpoint); ok {
		to.Registry, to.Client = "http://127.0.0.1:80", near // the host is not dialled
		return to, nil
	}
	store, err := a.certificate()
	if err != nil {
		return to, err
	}
	id := store.Identity()
	if err := placement.MayTouch(id.Role, id.Name, owner); err != nil {
		return to, err
	}
	to.Client = wiring.NewImageTransport(store)
	return to, nil
}

func (a *app) pushTo(ctx context.Context, cfg pushConfig, to images.Destination, tag string, show images.Progress) (digest string, err error) {
	switch {
	case cfg.binary != "":
		ports := make([]uint16, len(cfg.expose))
		for i, p := range cfg.expose {
			ports[i] = uint16(p)
		}
		image, err := images.FromBinary(cfg.binary, images.Binary{Env: cfg.env, Expose: ports})
		if err != nil {
			return "", err
		}
		return image.Push(ctx, to, tag, show)
	case cfg.tar == "-":
		return images.PushStream(ctx, to, tag, a.stdin, show)
	case cfg.tar != "":
		return images.PushTar(ctx, to, tag, images.FromFile(cfg.tar), show)
	}
	saved, err := dockerd.Save(ctx, cfg.docker, tag)
	if err != nil {
		return "", &placement.Error{Kind: placement.KindNotFound, What: "cannot take " + tag + " from a Docker daemon", Why: err.Error(), Next: "name another daemon by --docker, or a file by --tar"}
	}
	defer saved.Close()
	return images.PushStream(ctx, to, tag, io.Reader(saved), show)
}
