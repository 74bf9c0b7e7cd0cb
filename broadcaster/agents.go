package broadcaster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// caller is a link to an agent: [*rpc.Link].
type caller interface {
	Call(ctx context.Context, method string, result any, args ...any) error
	Stream(ctx context.Context, method string, args ...any) (*rpc.Stream, error)
	Peer() rpc.Peer
	Done() <-chan struct{}
	Close() error
}

const (
	probeTime   = time.Second      // an old link's time to prove that it lives; less than an agent waits for its register
	contestTime = 30 * time.Second // no new work after the last word of a second session
)

// errNoAgent: no link to call.
var errNoAgent = errors.New("the agent is not connected")

// Agents are the links to the nodes' agents, one for each node that has
// registered. It is safe for concurrent use.
type Agents struct {
	logger *slog.Logger

	mu    sync.Mutex
	seats map[placement.NodeID]*seat
}

// seat is a node's place: the link that speaks for it.
type seat struct {
	link       caller
	registered bool
	contested  time.Time // when a second live session last showed
	rival      string    // its address
}

// NewAgents knows no agent yet.
func NewAgents(logger *slog.Logger) *Agents {
	return &Agents{logger: logger, seats: map[placement.NodeID]*seat{}}
}

// Offer sends an offer to the node's agent and waits for its answer.
func (a *Agents) Offer(ctx context.Context, node placement.NodeID, o placement.Offer) (placement.OfferAnswer, error) {
	var got placement.OfferAnswer
	link := a.link(node)
	if link == nil {
		return got, errNoAgent
	}
	if err := link.Call(ctx, "offer", &got, o); err != nil {
		return placement.OfferAnswer{}, fmt.Errorf("offer: %w", err)
	}
	return got, nil
}

// Stop sends a stop order to the node's agent. An error means that it may not
// have arrived; the node's next report brings the order again.
func (a *Agents) Stop(ctx context.Context, node placement.NodeID, o placement.StopOrder) error {
	link := a.link(node)
	if link == nil {
		return errNoAgent
	}
	if err := link.Call(ctx, "stop", nil, o); err != nil {
		return fmt.Errorf("order to stop: %w", err)
	}
	return nil
}

// Request asks the node's agent for the request that a copy there was made
// from. What the agent refuses is a [placement.Error].
func (a *Agents) Request(ctx context.Context, node placement.NodeID, digest string) (placement.Request, error) {
	var got placement.Request
	link := a.link(node)
	if link == nil {
		return got, errNoAgent
	}
	err := link.Call(ctx, "request", &got, digest)
	if remote, ok := errors.AsType[*rpc.RemoteError](err); ok {
		return got, placement.ErrorFrom(remote.Name, remote.Message)
	}
	if err != nil {
		return got, fmt.Errorf("request: %w", err)
	}
	return got, nil
}

// link is the live link of a node that is registered, or nil.
func (a *Agents) link(node placement.NodeID) caller {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.seats[node]
	if s == nil || !s.registered || ended(s.link) {
		return nil
	}
	return s.link
}

// overlay corrects a node's status by what its link shows: without one, or with
// a second session, it can take no work.
func (a *Agents) overlay(n placement.NodeStatus) placement.NodeStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.seats[n.Node]
	switch {
	case s == nil || !s.registered || ended(s.link):
		n.Agent = false
	case s.isContested():
		n.Agent = false
		n.Alarms = append(slices.Clip(n.Alarms), fmt.Sprintf("two live sessions, from %s and %s: no new work", s.link.Peer().Addr, s.rival))
	}
	return n
}

func (s *seat) isContested() bool {
	return !s.contested.IsZero() && time.Since(s.contested) < contestTime
}

// take makes the link the one that speaks for the node. A former one that
// still answers keeps the seat: behind it is another agent with this node's
// name, on a cloned machine or beside it on the same one. Then no new work goes
// to the node for a while, and the error says so. Again with the same link is
// no change.
func (a *Agents) take(ctx context.Context, node placement.NodeID, link caller) error {
	old, err := a.sit(node, link, nil)
	if err != nil || old == nil {
		return err
	}
	lives := alive(ctx, old)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("probe the former link: %w", err)
	}
	if !lives {
		_ = old.Close() // it is dead already
		if old, err = a.sit(node, link, old); err != nil || old == nil {
			return err
		}
	}
	a.mu.Lock()
	if s := a.seats[node]; s != nil && s.link == old {
		s.contested, s.rival = time.Now(), link.Peer().Addr
	}
	a.mu.Unlock()
	a.logger.Error("second live session of a node: no new work for it", "node", node, "first", old.Peer().Addr, "second", link.Peer().Addr)
	return &placement.Error{
		Kind: placement.KindRefused,
		What: fmt.Sprintf("node %s is connected already", node),
		Why:  fmt.Sprintf("its session from %s is alive, and this one comes from %s", old.Peer().Addr, link.Peer().Addr),
		Next: "give each node its own name and state directory, and stop one of the two",
	}
}

// sit seats the link if the seat is free, or taken by the one given as gone or
// by one that has ended. Otherwise it returns who sits there.
func (a *Agents) sit(node placement.NodeID, link, gone caller) (other caller, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, s := range a.seats {
		if n != node && s.link == link {
			return nil, &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("this link speaks for node %s", cmp.Or(n, "?")), Why: fmt.Sprintf("it cannot register node %s as well", node), Next: "open a link for each node"}
		}
	}
	s := a.seats[node]
	switch {
	case s != nil && s.link == link:
		return nil, nil
	case s == nil || ended(s.link) || s.link == gone:
		a.seats[node] = &seat{link: link}
		return nil, nil
	}
	return s.link, nil
}

// confirm opens the seat for offers, once the ledger has registered the node.
func (a *Agents) confirm(node placement.NodeID, link caller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.seats[node]; s != nil && s.link == link {
		s.registered = true
	}
}

// dismiss closes the link of a node that was given up. Its words prove nothing
// until it registers again, and an agent that lives would not know: its copies
// would go on beside those that took their place.
func (a *Agents) dismiss(node placement.NodeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.seats[node]; s != nil {
		delete(a.seats, node)
		go func() { _ = s.link.Close() }() // it may wait for what it still has to send
	}
}

// speaksFor checks that the link is the node's registered one.
func (a *Agents) speaksFor(node placement.NodeID, link caller) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.seats[node]; s != nil && s.link == link && s.registered {
		return nil
	}
	return &placement.Error{Kind: placement.KindRegister, What: fmt.Sprintf("node %s has not registered on this link", node), Next: "register first"}
}

// alive asks an old link for anything: an error of its agent is an answer too.
func alive(ctx context.Context, link caller) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := link.Call(ctx, "room", nil)
	var remote *rpc.RemoteError
	return err == nil || errors.As(err, &remote)
}

func ended(link caller) bool {
	select {
	case <-link.Done():
		return true
	default:
		return false
	}
}
