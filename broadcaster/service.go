package broadcaster

import (
	"context"
	"maps"
	"strings"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Info is what `info` tells about a broadcaster.
type Info struct {
	V        int            `json:"v"` // [placement.Format]
	Cluster  string         `json:"cluster"`
	Mark     placement.Mark `json:"mark"`
	Registry string         `json:"registry"`           // http address of the image registry
	Nodes    int            `json:"nodes"`              // that ever registered
	Ready    int            `json:"ready"`              // that can take work now
	Holding  string         `json:"holding,omitempty"`  // what is held back and why: by the mass guard, or since the ledger's start
	Lockless bool           `json:"lockless,omitempty"` // a node said a moment ago that it cannot reach the lock table
	Disk     *Disk          `json:"disk,omitempty"`     // where the ledger is
	Alarm    string         `json:"alarm,omitempty"`    // what an operator should know of the broadcaster itself
}

// Disk is the space of a file system, in bytes.
type Disk struct {
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
}

// ClientMethods is what schedctl and scripts call.
func (b *Broadcaster) ClientMethods() rpc.Methods {
	methods := b.appMethods()
	maps.Copy(methods, b.wishMethods())
	maps.Copy(methods, b.relayMethods())
	maps.Copy(methods, b.traceMethods())
	maps.Copy(methods, b.operateMethods())
	return methods
}

func (b *Broadcaster) appMethods() rpc.Methods {
	return rpc.Methods{
		"submit": rpc.Unary("Store an app and answer when that is durable; the same app again changes nothing. Tags become digests.", "app",
			func(ctx context.Context, c *rpc.Call, app placement.App) (placement.Submitted, error) {
				if err := owns(c, app.Owner); err != nil {
					return placement.Submitted{}, err
				}
				return b.submit(ctx, app)
			}),
		"remove": rpc.Unary("End the app that owner and app of the filter name; returns its replicas.", "filter", b.remove),
		"retry": rpc.Unary("Put failed, stopped and destroyed replicas back into the queue, for any node, and make waiting ones due now. Returns them.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Replica, error) {
				f, err := narrow(c, f)
				if err != nil {
					return nil, err
				}
				return b.deps.Apps.Retry(ctx, f)
			}),
		"status": rpc.Unary("List the placements that the filter chooses: what stands where, and why not.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Status, error) {
				f, err := narrow(c, f)
				if err != nil {
					return nil, err
				}
				return b.deps.Apps.Statuses(ctx, f)
			}),
		"explain": rpc.Unary("Tell everything about one replica, OWNER/APP/SERVICE/N, and why each node passed on it.", "replica",
			func(ctx context.Context, c *rpc.Call, r placement.Replica) (placement.Status, error) {
				if _, err := placement.ParseReplica(string(r)); err != nil {
					return placement.Status{}, err
				}
				if err := owns(c, r.Owner()); err != nil {
					return placement.Status{}, err
				}
				return b.deps.Apps.Explain(ctx, r)
			}),
		"events": rpc.Streaming("Stream placements: a snapshot, an event with synced, then every change.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.Filter, send func(any) error) error {
				f, err := narrow(c, f)
				if err != nil {
					return err
				}
				if err := b.deps.Apps.Watch(ctx, f, func(e placement.Event) error { return send(e) }); err != nil {
					return err
				}
				return ctx.Err() // a caller's deadline is no end of the stream
			}),
		"nodes": rpc.Nullary("List all nodes that ever registered, by name.",
			func(ctx context.Context, _ *rpc.Call) ([]placement.NodeStatus, error) { return b.nodesNow(ctx) }),
		"node_change": rpc.Unary("Carry out an operator's word about a node: labels, drain (no new work, and its replicas move away one after the other), give up.", "change", b.nodeChange),
		"registry": rpc.Nullary("Tell the http address of the image registry.",
			func(context.Context, *rpc.Call) (string, error) { return b.cfg.Registry, nil }),
		"info": rpc.Nullary("Tell which cluster this is and how it is.", b.info),
	}
}

func (b *Broadcaster) remove(ctx context.Context, c *rpc.Call, f placement.Filter) ([]placement.Replica, error) {
	if f.Owner == "" || f.App == "" || f.Service != "" || f.Replica != "" || f.Node != "" {
		return nil, invalid("cannot remove this", "remove ends one whole app, named by owner and app and nothing else", "give both names")
	}
	f, err := narrow(c, f)
	if err != nil {
		return nil, err
	}
	return b.deps.Apps.Remove(ctx, f.Owner, f.App)
}

// nodesNow is the view as of now, and what the links show.
func (b *Broadcaster) nodesNow(ctx context.Context) ([]placement.NodeStatus, error) {
	nodes, err := b.deps.View.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]placement.NodeStatus, len(nodes))
	for i, n := range nodes {
		out[i] = b.deps.Agents.overlay(n)
	}
	return out, nil
}

const maxLabels = 64 // of one change

func (b *Broadcaster) nodeChange(ctx context.Context, _ *rpc.Call, c placement.NodeChange) (placement.NodeStatus, error) {
	if err := checkChange(c); err != nil {
		return placement.NodeStatus{}, err
	}
	record, err := b.deps.Records.ChangeNode(ctx, c)
	if c.GiveUp != nil && *c.GiveUp {
		b.deps.Agents.dismiss(c.Node) // also if what it held could not all be put back yet
	}
	if err != nil {
		return placement.NodeStatus{}, err
	}
	b.mu.Lock()
	b.nodes, b.seen = nil, time.Time{} // the next chain looks anew
	b.mu.Unlock()
	nodes, err := b.nodesNow(ctx)
	if err != nil {
		return placement.NodeStatus{}, err
	}
	status := placement.NodeStatus{Node: record.Node, State: placement.NodeSilent, Address: record.Address}
	for _, n := range nodes {
		if n.Node == record.Node {
			status = n
		}
	}
	return changed(status, record), nil
}

// changed is the status with what the record says, should the view not know
// it yet.
func changed(s placement.NodeStatus, r placement.NodeRecord) placement.NodeStatus {
	s.Labels = map[string]string{}
	maps.Copy(s.Labels, r.Reported)
	maps.Copy(s.Labels, r.Labels)
	switch {
	case r.GivenUp:
		s.State = placement.NodeGivenUp
	case r.Draining && s.State == placement.NodeReady:
		s.State = placement.NodeDraining
	}
	return s
}

func checkChange(c placement.NodeChange) error {
	if err := placement.CheckName("node", string(c.Node)); err != nil {
		return err
	}
	if len(c.Labels) == 0 && c.Drain == nil && c.GiveUp == nil {
		return invalid("no change of node "+string(c.Node), "neither labels nor drain nor give_up is given", "say what to change")
	}
	if len(c.Labels) > maxLabels {
		return invalid("too many labels at once", "64 are allowed", "change fewer")
	}
	for k, v := range c.Labels {
		if err := placement.CheckName("label", k); err != nil {
			return err
		}
		if v == "" {
			continue
		}
		if err := placement.CheckName("value of label "+k, v); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broadcaster) info(ctx context.Context, _ *rpc.Call) (Info, error) {
	nodes, err := b.nodesNow(ctx)
	if err != nil {
		return Info{}, err
	}
	holding, err := b.deps.View.Holding(ctx)
	if err != nil {
		return Info{}, err
	}
	if since := b.deps.Log.Holding(); since != "" {
		holding = strings.TrimPrefix(holding+"; "+since, "; ")
	}
	ready, _ := Eligible(nodes, placement.Request{})
	var disk *Disk
	if b.cfg.Disk != nil {
		if d, err := b.cfg.Disk(); err == nil {
			disk = &d
		}
	}
	return Info{
		Disk: disk, Lockless: b.locksGone(),
		V: placement.Format, Cluster: b.deps.Records.Cluster(), Mark: b.deps.Records.Mark(),
		Registry: b.cfg.Registry, Nodes: len(nodes), Ready: len(ready), Holding: holding, Alarm: b.cfg.Alarm(),
	}, nil
}
