package dockerd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"longshore/internal/placement"
)

// Detail is one copy as its daemon tells of it. Its environment is not among
// it: that may hold secrets.
type Detail struct {
	placement.Copy
	Name      string           `json:"name"`      // of the container
	Container string           `json:"container"` // Docker's ID
	Image     string           `json:"image"`
	Command   []string         `json:"command,omitempty"`
	Address   string           `json:"address,omitempty"` // of its net container
	Pid       int              `json:"pid,omitempty"`     // on the node, while it runs
	Up        placement.Millis `json:"up,omitempty"`      // runs for so long
	Restarts  int              `json:"restarts"`          // in this container, by its node
	OOMKilled bool             `json:"oom_killed"`        // some process of its last run was killed for want of memory
	LimitCPU  int64            `json:"limit_cpu"`         // thousandths of a core; 0: none
	LimitMem  int64            `json:"limit_memory"`      // bytes; 0: none
}

// Image is one image in an owner's daemon.
type Image struct {
	Owner string   `json:"owner"`
	ID    string   `json:"id"`
	Names []string `json:"names"` // by digest, then by tag
	Size  int64    `json:"size"`  // bytes, layers shared with others included
}

// reach finds the container of a copy of this cluster and node. Nothing else
// in a daemon can be reached by it, net containers least of all.
func (h *Host) reach(ctx context.Context, id placement.ID) (*conn, container.InspectResponse, error) {
	var none container.InspectResponse
	c, err := h.reachDaemon(ctx, id.Owner())
	if err != nil {
		return nil, none, err
	}
	if c == nil {
		return nil, none, h.notHere(id)
	}
	have, err := c.ContainerInspect(ctx, id.ContainerName())
	if errdefs.IsNotFound(err) {
		return nil, none, h.notHere(id)
	}
	if err != nil {
		return nil, none, classify("look at "+string(id), err)
	}
	if found, ours := h.cfg.copyFrom(have.Config.Labels); !ours || found.ID != id {
		return nil, none, h.notHere(id)
	}
	return c, have, nil
}

// reachDaemon is the connection to an owner's daemon; nil if the owner has
// none here, and none is made.
func (h *Host) reachDaemon(ctx context.Context, owner string) (*conn, error) {
	if err := placement.CheckName("owner", owner); err != nil {
		return nil, err
	}
	known, err := h.known(owner)
	if err != nil || !known {
		return nil, err
	}
	return h.ready(ctx, owner)
}

func (h *Host) notHere(id placement.ID) error {
	return &placement.Error{
		Kind: placement.KindNotFound, What: fmt.Sprintf("%s has no container on %s", id.Replica(), h.cfg.Node),
		Next: "schedctl ps says where it is",
	}
}

// Inspect tells what the copy of a placement is and does.
func (h *Host) Inspect(ctx context.Context, id placement.ID) (Detail, error) {
	_, have, err := h.reach(ctx, id)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{
		Name: strings.TrimPrefix(have.Name, "/"), Container: have.ID, Image: h.unmirrored(have.Config.Image),
		Command: have.Config.Cmd, Pid: have.State.Pid, OOMKilled: have.State.OOMKilled, Restarts: have.RestartCount,
		LimitCPU: have.HostConfig.NanoCPUs / 1_000_000, LimitMem: have.HostConfig.Memory,
	}
	d.Copy, _ = h.cfg.copyFrom(have.Config.Labels)
	d.State, d.Exit = copyState(have.State.Status), have.State.ExitCode
	if began, err := time.Parse(time.RFC3339Nano, have.State.StartedAt); err == nil && d.State == placement.CopyRunning {
		d.Up = placement.Millis(time.Since(began).Milliseconds())
	}
	if a, err := h.Address(id.Owner(), id); err == nil {
		d.Address = a.String()
	}
	return d, nil
}

// unmirrored is the name of an image as people know it: without the address of
// this node's mirror.
func (h *Host) unmirrored(ref string) string { return strings.TrimPrefix(ref, h.cfg.Mirror+"/") }

// Owners are those who have a daemon on this node, up or not.
func (h *Host) Owners() ([]string, error) { return h.cfg.owners() }

// Images lists the images in the owner's daemon, the net containers' apart. An
// owner without a daemon here has none.
func (h *Host) Images(ctx context.Context, owner string) ([]Image, error) {
	c, err := h.reachDaemon(ctx, owner)
	if err != nil || c == nil {
		return nil, err
	}
	all, err := c.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("dangling", "false"))})
	if err != nil {
		return nil, classify("list the images of "+owner, err)
	}
	var out []Image
	for _, i := range all {
		named := Image{Owner: owner, ID: i.ID, Size: i.Size}
		for _, name := range append(i.RepoDigests, i.RepoTags...) {
			if !strings.HasSuffix(name, "<none>") {
				named.Names = append(named.Names, h.unmirrored(name))
			}
		}
		if len(named.Names) == 0 || !strings.HasPrefix(named.Names[0], pauseRepository+":") {
			out = append(out, named)
		}
	}
	return out, nil
}
