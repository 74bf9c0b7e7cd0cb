package agent

import (
	"cmp"
	"context"
	"slices"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Info is what the agent tells of itself.
type Info struct {
	V          int                 `json:"v"` // [placement.Format]
	Node       placement.NodeID    `json:"node"`
	Cluster    string              `json:"cluster"`
	Registered bool                `json:"registered"`
	At         placement.SessionOp `json:"at"`
	Mark       placement.Mark      `json:"mark"` // the highest seen
	Room       placement.Room      `json:"room"`
	Work       []Work              `json:"work,omitempty"` // by placement
}

// Work is what the agent does for one placement now.
type Work struct {
	ID    placement.ID    `json:"id"`
	Epoch placement.Epoch `json:"epoch"`
	Kind  string          `json:"kind"`            // "placing", "resuming" or "removing"
	Phase string          `json:"phase,omitempty"` // of a placing: as in [placement.Progress]
}

// Info tells what the agent is and does.
func (a *Agent) Info() Info {
	cluster, mark := a.pin.get()
	i := Info{
		V: placement.Format, Node: a.cfg.Node, Cluster: cluster, Mark: mark,
		At: a.ops.now(), Room: a.Room(),
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i.Registered = a.reg.session != 0
	for _, t := range a.tasks {
		i.Work = append(i.Work, Work{ID: t.id, Epoch: t.epoch, Kind: string(t.kind), Phase: t.word})
	}
	slices.SortFunc(i.Work, func(x, y Work) int { return cmp.Compare(x.ID, y.ID) })
	return i
}

// Copies are the copies of this node as the agent knows them, by placement;
// what is only reserved is not among them.
func (a *Agent) Copies() []placement.Copy {
	a.mu.Lock()
	defer a.mu.Unlock()
	copies := []placement.Copy{}
	for _, h := range a.book.holds {
		if e := a.book.copies[h.ID]; e.state != "" {
			copies = append(copies, placement.Copy{
				ID: h.ID, Epoch: h.Epoch, Digest: e.digest, State: e.state, Exit: e.exit,
				Needs: needs(h.Request, a.cfg.Defaults),
			})
		}
	}
	return copies
}

// LinkMethods is what the agent serves on its link to the broadcaster alone,
// beside Methods: requests may hold secrets.
func (a *Agent) LinkMethods() rpc.Methods {
	return rpc.Methods{
		"request": rpc.Unary("Tells the request that a copy on this node was made from, from its file.", "digest",
			func(_ context.Context, _ *rpc.Call, digest string) (placement.Request, error) {
				return a.requests.read(digest)
			}),
	}
}

// Methods is what the agent serves: to the broadcaster on the link between
// them, and on the node's socket.
func (a *Agent) Methods() rpc.Methods {
	return rpc.Methods{
		"offer": rpc.Unary("Asks the node to take a placement; answers at once.", "offer",
			func(ctx context.Context, _ *rpc.Call, o placement.Offer) (placement.OfferAnswer, error) {
				return a.Offer(ctx, o)
			}),
		"stop": rpc.Unary("Orders the node to stop and remove one copy; answers when the order is taken.", "order",
			func(ctx context.Context, _ *rpc.Call, o placement.StopOrder) (any, error) {
				return nil, a.Stop(ctx, o)
			}),
		"copies": rpc.Nullary("Lists the copies on this node.",
			func(context.Context, *rpc.Call) ([]placement.Copy, error) { return a.Copies(), nil }),
		"room": rpc.Nullary("Says how full this node is.",
			func(context.Context, *rpc.Call) (placement.Room, error) { return a.Room(), nil }),
		"info": rpc.Nullary("Says what this agent is and does.",
			func(context.Context, *rpc.Call) (Info, error) { return a.Info(), nil }),
	}
}
