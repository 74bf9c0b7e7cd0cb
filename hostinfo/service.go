package hostinfo

import (
	"context"
	"errors"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Methods is what the broadcaster serves on the links of nodes.
func (c *Collector) Methods() rpc.Methods {
	return rpc.Methods{
		"link": rpc.Unary("opens a hostinfod's link and numbers it", "hello",
			func(ctx context.Context, call *rpc.Call, h placement.Hello) (placement.Link, error) {
				if err := speaksAs(call, placement.RoleHostinfo, h.Node); err != nil {
					return placement.Link{}, err
				}
				return c.Link(ctx, h)
			}),
		"report": rpc.Unary("takes what a node runs", "report",
			func(ctx context.Context, call *rpc.Call, r placement.Report) (placement.ReportAnswer, error) {
				if err := speaksAs(call, placement.RoleHostinfo, r.Node); err != nil {
					return placement.ReportAnswer{}, err
				}
				return c.Report(ctx, r)
			}),
		"beat": rpc.Unary("takes a sign of life of a node's process, and tells the ledger's mark", "beat",
			func(_ context.Context, call *rpc.Call, b placement.Beat) (placement.Mark, error) {
				if err := speaksAs(call, b.Role, b.Node); err != nil {
					return placement.Mark{}, err
				}
				return c.ledger.Mark(), c.Beat(b)
			}),
	}
}

// speaksAs refuses a process that is not the one of that node in that role.
func speaksAs(c *rpc.Call, role string, node placement.NodeID) error {
	return placement.MaySpeak(c.Peer.Role, c.Peer.Subject, role, node)
}

// Info is what hostinfod says about itself.
type Info struct {
	V       int              `json:"v"` // [placement.Format]
	Node    placement.NodeID `json:"node"`
	Cluster string           `json:"cluster"` // "" if it was not told one
	Figures Figures          `json:"figures"`
	Links   []uint64         `json:"links"`   // to broadcasters, by their numbers
	Listed  placement.Millis `json:"listed"`  // since the last complete listing; -1 if there was none
	Reports uint64           `json:"reports"` // acknowledged since the start
}

// Methods is what hostinfod serves on the node's own socket. Copies, daemons
// and room are looked up when asked.
func (w *Watcher) Methods() rpc.Methods {
	return rpc.Methods{
		"copies": rpc.Nullary("lists the copies on this node",
			func(ctx context.Context, _ *rpc.Call) ([]placement.Copy, error) {
				l, err := w.look(ctx)
				return l.Copies, err
			}),
		"daemons": rpc.Nullary("lists the owners' daemons on this node",
			func(ctx context.Context, _ *rpc.Call) ([]placement.DaemonListing, error) {
				l, err := w.look(ctx)
				return l.Daemons, err
			}),
		"room": rpc.Nullary("tells how full this node is",
			func(ctx context.Context, _ *rpc.Call) (placement.Room, error) { return w.Room(ctx) }),
		"info": rpc.Nullary("tells about this hostinfod and its machine",
			func(context.Context, *rpc.Call) (Info, error) { return w.Info(), nil }),
	}
}

// Room lists the copies and tells how full the node is.
func (w *Watcher) Room(ctx context.Context) (placement.Room, error) {
	l, err := w.look(ctx)
	if err != nil {
		return placement.Room{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return roomOf(w.cfg.Capacity, promises(w.promised, l), w.used, w.figures), nil
}

// Info tells about the watcher.
func (w *Watcher) Info() Info {
	w.mu.Lock()
	defer w.mu.Unlock()
	info := Info{
		V: placement.Format, Node: w.cfg.Node, Cluster: w.cfg.Cluster, Figures: w.figures,
		Links: []uint64{}, Listed: age(w.listed), Reports: w.reports,
	}
	for _, s := range w.sessions {
		info.Links = append(info.Links, s.link.Link)
	}
	return info
}

// Up attends to the broadcaster at the other end of a link. It is made for
// [rpc.Keep].
func (w *Watcher) Up(ctx context.Context, l *rpc.Link) error { return w.Attend(ctx, remote{l}) }

// remote is a broadcaster behind a link.
type remote struct{ l *rpc.Link }

func (r remote) Link(ctx context.Context, h placement.Hello) (link placement.Link, err error) {
	err = r.call(ctx, "link", &link, h)
	return link, err
}

func (r remote) Report(ctx context.Context, report placement.Report) (answer placement.ReportAnswer, err error) {
	err = r.call(ctx, "report", &answer, report)
	return answer, err
}

func (r remote) Beat(ctx context.Context, b placement.Beat) error {
	return r.call(ctx, "beat", nil, b)
}

// call gives the errors of the other end their kinds back.
func (r remote) call(ctx context.Context, method string, result, arg any) error {
	err := r.l.Call(ctx, method, result, arg)
	if e, ok := errors.AsType[*rpc.RemoteError](err); ok {
		return placement.ErrorFrom(e.Name, e.Message)
	}
	return err
}
