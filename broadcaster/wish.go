package broadcaster

import (
	"context"
	"fmt"
	"math"
	"strings"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Wishes is the ledger as the record of what people and scripts say about
// single replicas. All changes are durable when they return, and the same again
// changes nothing.
type Wishes interface {
	Stop(ctx context.Context, f placement.Filter, by string) ([]placement.Replica, error)
	Start(ctx context.Context, f placement.Filter) ([]placement.Replica, error)
	Destroy(ctx context.Context, f placement.Filter, by string) ([]placement.Replica, error)
	// Wish is a node's word about one placement that it holds: stop, start,
	// destroy.
	Wish(ctx context.Context, w placement.Wish) (placement.Wished, error)
	// SubmitService adds or changes one service of an app; node, if not "",
	// says that only a service pinned to that node may be changed.
	SubmitService(ctx context.Context, owner, app string, s placement.Service, node placement.NodeID) (placement.Submitted, error)
	// Waiting lists what waits for a node, in due order.
	Waiting(ctx context.Context, f placement.Filter) ([]placement.Status, error)
}

// wishMethods are the client methods about single containers.
func (b *Broadcaster) wishMethods() rpc.Methods {
	return rpc.Methods{
		"run": rpc.Unary("Run one container: a service with one replica, id OWNER/APP/SERVICE, added to that app. The same again changes nothing; another request for the id replaces it.", "container",
			func(ctx context.Context, call *rpc.Call, c placement.Container) (placement.Submitted, error) {
				owner, _, _ := strings.Cut(c.ID, "/")
				if err := owns(call, owner); err != nil {
					return placement.Submitted{}, err
				}
				return b.runContainer(ctx, c, "")
			}),
		"stop": rpc.Unary("Stop replicas of one app, all or those of the filter: DONE until they are started, or their service's request changes. Returns them.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Replica, error) {
				f, err := oneApp(c, "stop", f)
				if err != nil {
					return nil, err
				}
				return b.deps.Wishes.Stop(ctx, f, whose(c))
			}),
		"start": rpc.Unary("Start replicas of one app that are stopped, done, failed or destroyed, on the node where they were. Returns them.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Replica, error) {
				f, err := oneApp(c, "start", f)
				if err != nil {
					return nil, err
				}
				return b.deps.Wishes.Start(ctx, f)
			}),
		"destroy": rpc.Unary("Remove replicas of one app though it wishes them: they stay away until they are started, or their service's request changes. Returns them.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Replica, error) {
				f, err := oneApp(c, "destroy", f)
				if err != nil {
					return nil, err
				}
				return b.deps.Wishes.Destroy(ctx, f, whose(c))
			}),
		"queue": rpc.Unary("List what waits for a node and why, in the order in which it is due.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Status, error) {
				f, err := narrow(c, f)
				if err != nil {
					return nil, err
				}
				return b.deps.Wishes.Waiting(ctx, f)
			}),
	}
}

// whose is who makes a call, as role/name. One whom nobody vouches for came
// over a listener that is the operator's alone.
func whose(c *rpc.Call) string {
	if c.Peer.Role == "" {
		return placement.RoleOperator
	}
	return c.Peer.Role + "/" + c.Peer.Subject
}

// Actors is the middleware, for [rpc.Config.Serve], by which the ledger's log
// learns who made a call.
func Actors(next rpc.Handler) rpc.Handler {
	return func(ctx context.Context, c *rpc.Call) (any, error) {
		return next(placement.ActAs(ctx, whose(c)), c)
	}
}

// oneApp checks a filter as narrow does, and wants one that names an app, so
// that a slip does not reach further.
func oneApp(c *rpc.Call, verb string, f placement.Filter) (placement.Filter, error) {
	f, err := narrow(c, f)
	if err == nil && f.Replica == "" && (f.Owner == "" || f.App == "") {
		err = invalid("cannot "+verb+" this", "the filter names no app", "give owner and app, or replica")
	}
	return f, err
}

// wish carries out what somebody wishes on a node.
func (b *Broadcaster) wish(ctx context.Context, c *rpc.Call, w placement.Wish) (placement.Wished, error) {
	if err := b.speaks(c, w.Cluster, w.Node); err != nil {
		return placement.Wished{}, err
	}
	if w.V != placement.Format {
		return placement.Wished{}, invalid(fmt.Sprintf("the wish has format %d", w.V), fmt.Sprintf("this broadcaster reads format %d", placement.Format), "install the same version on both")
	}
	if w.By == "" || len(w.By) > 128 || strings.ContainsFunc(w.By, func(r rune) bool { return r < ' ' }) {
		return placement.Wished{}, invalid("the wish does not say whose it is", fmt.Sprintf("by is %.40q", w.By), "say role/name")
	}
	ctx = placement.ActAs(ctx, w.By)
	switch w.Verb {
	case placement.WishCreate:
		return b.wishCreate(ctx, w)
	case placement.WishDrain:
		on := !w.Off
		_, err := b.nodeChange(ctx, nil, placement.NodeChange{Node: w.Node, Drain: &on})
		return placement.Wished{Mark: b.deps.Records.Mark()}, err
	}
	return b.deps.Wishes.Wish(ctx, w)
}

// wishCreate submits a container that a node wishes for itself.
func (b *Broadcaster) wishCreate(ctx context.Context, w placement.Wish) (placement.Wished, error) {
	if w.Container == nil {
		return placement.Wished{}, invalid("there is nothing to create", "the wish names no container", "give container")
	}
	container := *w.Container
	if container.Node != "" && container.Node != w.Node {
		return placement.Wished{}, invalid("cannot create "+container.ID+" from here", fmt.Sprintf("it is for node %s, and this is %s", container.Node, w.Node), "leave node out, or call run on the broadcaster")
	}
	container.Node = w.Node
	done, err := b.runContainer(ctx, container, w.Node)
	if err != nil {
		return placement.Wished{}, err
	}
	s, err := b.deps.Apps.Explain(ctx, placement.Replica(container.ID+"/1"))
	if err != nil {
		return placement.Wished{}, err
	}
	return placement.Wished{Mark: b.deps.Records.Mark(), ID: s.ID, Epoch: s.Epoch, State: s.State, Unchanged: done.Unchanged}, nil
}

// runContainer checks one container, turns its tag into a digest and stores it
// as a service. node, if not "", is the one that asks.
func (b *Broadcaster) runContainer(ctx context.Context, c placement.Container, node placement.NodeID) (placement.Submitted, error) {
	app, err := appOf(c)
	if err != nil {
		return placement.Submitted{}, err
	}
	if app, err = b.prepare(ctx, app); err != nil {
		return placement.Submitted{}, err
	}
	return b.deps.Wishes.SubmitService(ctx, app.Owner, app.Name, app.Services[0], node)
}

// appOf is a container as an app of one service.
func appOf(c placement.Container) (placement.App, error) {
	parts := strings.Split(c.ID, "/")
	if len(parts) != 3 {
		return placement.App{}, invalid(fmt.Sprintf("id %.200q names no container", c.ID), "an id is OWNER/APP/SERVICE", "for example alice/shop/web")
	}
	if !(c.CPUs >= 0 && c.CPUs <= maxCPU/1000) {
		return placement.App{}, invalid(fmt.Sprintf("cpus of %s is %g", c.ID, c.CPUs), fmt.Sprintf("it is a number of cores from 0 to %d", maxCPU/1000), "correct it")
	}
	return placement.App{Owner: parts[0], Name: parts[1], Services: []placement.Service{{
		Name: parts[2], Replicas: 1,
		Request: placement.Request{
			Image: c.Image, Command: c.Command, Env: c.Env, Ports: c.Ports, Restart: c.Restart,
			Needs:   placement.Resources{CPU: int64(math.Ceil(c.CPUs * 1000)), Memory: c.Memory, Disk: c.Disk},
			Limits:  placement.Resources{Memory: c.Memory},
			HAToken: c.HAToken, HADomain: c.HADomain, Node: c.Node,
		},
	}}}, nil
}
