package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// wishLimit bounds one question to the ledger.
const wishLimit = 10 * time.Second

// stopLimit bounds the wait for a copy that is stopped: grace, and some for
// Docker.
const stopLimit = time.Minute

func (c *Console) wishMethods() rpc.Methods {
	create := rpc.Unary("Run a container on this node: a service with one replica, pinned here. The argument is a map: id (OWNER/APP/SERVICE), image, command, env, memory (bytes), cpus (cores), disk (bytes), ports, restart, ha_token, ha_domain, key. Answers when the ledger has it; the same again changes nothing.", "container", c.create)
	create.Key = "key"
	return rpc.Methods{
		"container_create": create,
		"container_start": c.wish(placement.WishStart,
			"Start a container that is stopped, done or failed, on this node, where it was. Answers when the ledger has it; a new copy is made then."),
		"container_stop": c.wish(placement.WishStop,
			"Stop a container: the ledger makes it done, and no failover starts it again. Answers when its copy is gone, and its logs with it."),
		"container_destroy": c.wish(placement.WishDestroy,
			"Remove a container that its app wishes: it stays away until it is started on the broadcaster, or its service changes. Answers when its copy is gone."),
		"drain": rpc.Unary("Give this node no new work and move its replicas away one after the other, or with off=true give it work again.", "off",
			func(ctx context.Context, call *rpc.Call, off bool) (placement.Wished, error) {
				return c.ask(ctx, call, placement.Wish{Verb: placement.WishDrain, Off: off})
			}).Optional(false),
	}
}

// wish makes a method of a wish about one container. Its copy need not be
// here: the ledger knows whether it is this node's.
func (c *Console) wish(verb, doc string) rpc.Method {
	return rpc.Unary(doc, "container", func(ctx context.Context, call *rpc.Call, name string) (placement.Wished, error) {
		id, err := parse(name)
		if err != nil {
			return placement.Wished{}, err
		}
		if err := may(call, id.Owner()); err != nil {
			return placement.Wished{}, err
		}
		done, err := c.ask(ctx, call, placement.Wish{Verb: verb, ID: id})
		if err != nil || verb == placement.WishStart {
			return done, err
		}
		ctx, stop := context.WithTimeout(ctx, stopLimit)
		defer stop()
		if done.Stop != nil {
			return done, c.Node.StopNow(ctx, *done.Stop)
		}
		return done, c.leave(ctx, done.ID)
	})
}

// leave waits until the copies that the placement has here are gone: a ledger
// that has just started gives its orders a little later.
func (c *Console) leave(ctx context.Context, id placement.ID) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for slices.ContainsFunc(c.Node.Copies(), func(p placement.Copy) bool { return p.ID == id && p.State != placement.CopyExited }) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is to stop by the ledger's word, and has not: %w", id.Replica(), context.Cause(ctx))
		}
	}
	return nil
}

func (c *Console) create(ctx context.Context, call *rpc.Call, want placement.Container) (placement.Wished, error) {
	owner, _, _ := strings.Cut(want.ID, "/")
	if err := may(call, owner); err != nil {
		return placement.Wished{}, err
	}
	if want.Node != "" && want.Node != c.name {
		return placement.Wished{}, &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("%.100q cannot be created here", want.ID), Why: fmt.Sprintf("it is for %.100s, and this is %s", want.Node, c.name), Next: "call it there, or leave node out"}
	}
	want.Node = c.name
	return c.ask(ctx, call, placement.Wish{Verb: placement.WishCreate, Container: &want})
}

// ask asks the ledger for what the caller wishes.
func (c *Console) ask(ctx context.Context, call *rpc.Call, w placement.Wish) (placement.Wished, error) {
	ctx, stop := context.WithTimeout(ctx, wishLimit)
	defer stop()
	w.V, w.Cluster, w.Node, w.By = placement.Format, c.Node.Cluster(), c.name, by(call)
	return c.Ledger.Wish(ctx, w)
}
