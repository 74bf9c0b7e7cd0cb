package console

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

// Node is the agent, which knows its copies without asking Docker.
type Node interface {
	Cluster() string
	Copies() []placement.Copy
	Capacity() placement.NodeCapacity
	Refusals() []placement.Passed
	// StopNow carries out an order of the ledger; it returns when the copy is
	// gone.
	StopNow(ctx context.Context, o placement.StopOrder) error
}

// Ports publishes ports of running copies on the node's address.
type Ports interface {
	AddPort(ctx context.Context, id placement.ID, p placement.Port) (placement.Port, error)
	RemovePort(ctx context.Context, id placement.ID, p placement.Port) error
	Published() []placement.Published
}

// Ledger keeps what is wished.
type Ledger interface {
	Wish(ctx context.Context, w placement.Wish) (placement.Wished, error)
}

// Insides reach into copies.
type Insides interface {
	Exec(ctx context.Context, id placement.ID, cmd dockerd.Command, out dockerd.Output) (exit int, err error)
	Logs(ctx context.Context, id placement.ID, q dockerd.LogQuery, out dockerd.Output) error
	ReadFiles(ctx context.Context, id placement.ID, path string) (io.ReadCloser, error)
	WriteFiles(ctx context.Context, id placement.ID, dir string, tar io.Reader) error
}

// Sights look at copies and daemons.
type Sights interface {
	Inspect(ctx context.Context, id placement.ID) (dockerd.Detail, error)
	Meter(ctx context.Context, id placement.ID) (*dockerd.Meter, error)
	Owners() ([]string, error)
	Images(ctx context.Context, owner string) ([]dockerd.Image, error)
}

// Deps are what a console works with.
type Deps struct {
	Node    Node
	Ports   Ports
	Ledger  Ledger
	Insides Insides
	Sights  Sights
}

// Console serves one node. Its methods may be called from any goroutine.
type Console struct {
	name placement.NodeID
	Deps
	uploads uploads
}

// New makes the console of a node. Nothing is to be closed.
func New(name placement.NodeID, deps Deps) *Console {
	return &Console{name: name, Deps: deps, uploads: uploads{open: map[string]*upload{}}}
}

// patience bounds calls that ask a daemon and end by themselves.
const patience = 30 * time.Second

// Methods is what the console serves. Where a method names a container, that is
// a string, as the package comment says.
func (c *Console) Methods() rpc.Methods {
	all := rpc.Methods{}
	for _, table := range []rpc.Methods{c.sightMethods(), c.logMethods(), c.execMethods(), c.fileMethods(), c.portMethods(), c.wishMethods()} {
		maps.Copy(all, table)
	}
	return all
}

func (c *Console) sightMethods() rpc.Methods {
	return rpc.Methods{
		"container_list": rpc.Nullary("List the containers of this node that the caller may touch: placement, state, exit code, what they reserve.", c.list),
		"container_inspect": c.one("Tell everything about one container: image, command, address, process, limits.",
			func(ctx context.Context, id placement.ID) (dockerd.Detail, error) { return c.Sights.Inspect(ctx, id) }),
		"container_stats": c.watch("Stream what a running container uses, now and each second, until it ends: cpu (thousandths of a core over the last second), cpu_ms since its start, memory (bytes that cannot be freed), limits, pids.", c.stats),
		"image_list":      rpc.Nullary("List the images in the daemons of the owners whom the caller may touch.", c.images),
		"capacity":        rpc.Nullary("Say how full this node is, and which owner reserves how much; a user sees their own share.", c.capacity),
		"refusals":        rpc.Nullary("List the last 256 offers that this node passed on and why, newest first, since its agent started.", c.refusals),
	}
}

func (c *Console) list(_ context.Context, call *rpc.Call) ([]placement.Copy, error) {
	return slices.DeleteFunc(c.Node.Copies(), func(p placement.Copy) bool { return may(call, p.ID.Owner()) != nil }), nil
}

func (c *Console) images(ctx context.Context, call *rpc.Call) ([]dockerd.Image, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	owners, err := c.Sights.Owners()
	if err != nil {
		return nil, err
	}
	out := []dockerd.Image{}
	for _, owner := range owners {
		if may(call, owner) != nil {
			continue
		}
		some, err := c.Sights.Images(ctx, owner)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

func (c *Console) capacity(_ context.Context, call *rpc.Call) (placement.NodeCapacity, error) {
	all := c.Node.Capacity()
	all.Owners = slices.DeleteFunc(all.Owners, func(s placement.OwnerShare) bool { return may(call, s.Owner) != nil })
	return all, nil
}

// refusals of offers of the caller's own; who else holds what stood in the way
// is told as the reason tells it.
func (c *Console) refusals(_ context.Context, call *rpc.Call) ([]placement.Passed, error) {
	return slices.DeleteFunc(c.Node.Refusals(), func(p placement.Passed) bool { return may(call, p.ID.Owner()) != nil }), nil
}

// may refuses a caller who may not touch what the owner owns.
func may(call *rpc.Call, owner string) error {
	return placement.MayTouch(call.Peer.Role, call.Peer.Subject, owner)
}

// by is who makes the call, for the ledger. One without a role came over a
// link that is the operator's alone.
func by(call *rpc.Call) string {
	switch {
	case call.Peer.Role == "":
		return placement.RoleOperator
	case call.Peer.Subject == "": // of such a link of the broadcaster's
		return call.Peer.Role
	}
	return call.Peer.Role + "/" + call.Peer.Subject
}

// one makes a method of a function of one container.
func (c *Console) one(doc string, f func(ctx context.Context, id placement.ID) (dockerd.Detail, error)) rpc.Method {
	return rpc.Unary(doc, "container", func(ctx context.Context, call *rpc.Call, name string) (dockerd.Detail, error) {
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		id, err := c.find(call, name)
		if err != nil {
			return dockerd.Detail{}, err
		}
		return f(ctx, id)
	})
}

// watch makes a stream of a function of one container.
func (c *Console) watch(doc string, f func(ctx context.Context, id placement.ID, send func(any) error) error) rpc.Method {
	return rpc.Streaming(doc, "container", func(ctx context.Context, call *rpc.Call, name string, send func(any) error) error {
		id, err := c.find(call, name)
		if err != nil {
			return err
		}
		return f(ctx, id, send)
	})
}

// find is the copy that a name means: of a replica with several copies here
// the one that runs, or else the newest. The caller must be allowed to touch
// its owner's things, whether it is here or not.
func (c *Console) find(call *rpc.Call, name string) (placement.ID, error) {
	id, err := parse(name)
	if err != nil {
		return "", err
	}
	if err := may(call, id.Owner()); err != nil {
		return "", err
	}
	best := placement.Copy{}
	for _, p := range c.Node.Copies() {
		if p.ID != id && (id.Life() != "" || p.ID.Replica() != id.Replica()) {
			continue
		}
		runs, ran := p.State == placement.CopyRunning, best.State == placement.CopyRunning
		if best.ID == "" || runs && !ran || runs == ran && p.ID > best.ID {
			best = p
		}
	}
	if best.ID == "" {
		return "", &placement.Error{
			Kind: placement.KindNotFound, What: fmt.Sprintf("%s has no container on %s", id, c.name),
			Next: "schedctl ps says where it is; container_list what is here",
		}
	}
	return best.ID, nil
}

// containerPrefix begins the name of every copy's container in Docker.
const containerPrefix = "longshore."

// parse reads the name of a container. One without a life is a replica's name
// as it stands.
func parse(name string) (placement.ID, error) {
	if rest, ok := strings.CutPrefix(name, containerPrefix); ok {
		name = rest // owner.app.service.n.life; names have no dots
		if last := strings.LastIndexByte(rest, '.'); last >= 0 {
			name = strings.ReplaceAll(rest[:last], ".", "/") + rest[last:]
		}
	}
	if strings.Contains(name, ".") {
		return placement.ParseID(name)
	}
	r, err := placement.ParseReplica(name)
	return placement.ID(r), err
}
