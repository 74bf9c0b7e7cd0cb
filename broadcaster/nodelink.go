package broadcaster

import (
	"context"
	"fmt"

	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

// NodeMethods is what agentd calls on the link it keeps to the broadcaster.
// Offers and stop orders go the other way on the same link.
func (b *Broadcaster) NodeMethods() rpc.Methods {
	return rpc.Methods{
		"register": rpc.Unary("Take the node in; from now on this link is offered work for it.", "register", b.register),
		"bind": rpc.Unary("Ask whether this node may start this epoch of a placement, or what to do after its exit.", "bind",
			func(ctx context.Context, c *rpc.Call, q placement.Bind) (placement.BindAnswer, error) {
				if err := b.speaks(c, q.Cluster, q.Node); err != nil {
					return placement.BindAnswer{}, err
				}
				trace.From(ctx).About(string(q.ID))
				return b.deps.Records.Bind(ctx, q)
			}),
		"failed": rpc.Unary("Say that Docker refused to start a bound copy, which is removed already.", "failed",
			func(ctx context.Context, c *rpc.Call, f placement.Failed) (any, error) {
				if err := b.speaks(c, f.Cluster, f.Node); err != nil {
					return nil, err
				}
				return nil, b.deps.Records.Failed(ctx, f)
			}),
		"wish": rpc.Unary("Have the ledger carry out what somebody wishes on this node: stop, start, destroy, create, drain.", "wish", b.wish),
		"progress": rpc.Unary("Say how far the work on an offer is, or that it was given up.", "progress",
			func(_ context.Context, c *rpc.Call, p placement.Progress) (any, error) {
				if err := b.speaks(c, p.Cluster, p.Node); err != nil {
					return nil, err
				}
				b.deps.Queue.Progress(p)
				return nil, nil
			}),
	}
}

// register seats the link before the ledger gives a session, so that of two
// machines with one name only the first gets one.
func (b *Broadcaster) register(ctx context.Context, c *rpc.Call, r placement.Register) (placement.Registered, error) {
	if r.V != placement.Format {
		return placement.Registered{}, invalid(fmt.Sprintf("node %.63s speaks format %d", r.Node, r.V), fmt.Sprintf("this broadcaster speaks format %d", placement.Format), "install the same version on both")
	}
	if err := placement.CheckName("node", string(r.Node)); err != nil {
		return placement.Registered{}, err
	}
	if err := speaksAs(c, r.Node); err != nil {
		return placement.Registered{}, err
	}
	if r.Cluster != "" {
		if err := b.checkCluster(r.Cluster); err != nil {
			return placement.Registered{}, err
		}
	}
	link := c.Link()
	if err := b.deps.Agents.take(ctx, r.Node, link); err != nil {
		return placement.Registered{}, err
	}
	got, err := b.deps.Records.Register(ctx, r)
	if err != nil {
		return placement.Registered{}, err
	}
	b.deps.Agents.confirm(r.Node, link)
	b.cfg.Logger.Info("node registered", "node", r.Node, "address", r.Address, "session", got.Session)
	return got, nil
}

// speaks checks that a message is of this cluster and of the link's node.
func (b *Broadcaster) speaks(c *rpc.Call, cluster string, node placement.NodeID) error {
	if err := speaksAs(c, node); err != nil {
		return err
	}
	if err := b.checkCluster(cluster); err != nil {
		return err
	}
	return b.deps.Agents.speaksFor(node, c.Link())
}

func (b *Broadcaster) checkCluster(cluster string) error {
	if ours := b.deps.Records.Cluster(); cluster != ours {
		return &placement.Error{
			Kind: placement.KindRefused,
			What: fmt.Sprintf("the node serves cluster %.40q", cluster),
			Why:  fmt.Sprintf("this broadcaster's cluster is %s", ours),
			Next: "point the node at its own broadcaster, or clear its state directory to move it",
		}
	}
	return nil
}
