package rpc

import (
	"context"
	"strings"
	"time"
)

// Inlet takes in events that are not answered, and calls the method of each:
// one at a time and in order of each connection. It may listen and dial at
// several places at once; the transports need its Socket, SUB or PULL.
type Inlet struct {
	svc  *service
	subs bool
}

// Subscriber makes an Inlet for all that publishers send. Of cfg it uses
// Methods (of which those that stream are refused), Allow, Serve, Identity,
// Logger and Rand. What a method returns is dropped, and its error logged.
func Subscriber(cfg Config) (*Inlet, error) { return newInlet(cfg, true) }

// Puller makes an Inlet for what pushers send to it, with the same cfg as
// Subscriber. While a method runs, nothing more is read of that pusher.
func Puller(cfg Config) (*Inlet, error) { return newInlet(cfg, false) }

func newInlet(cfg Config, subs bool) (*Inlet, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, err
	}
	return &Inlet{svc: s, subs: subs}, nil
}

// Serve takes in what those send who connect to l until ctx ends, as [Serve]
// does.
func (i *Inlet) Serve(ctx context.Context, l Listener) error {
	return i.svc.attach(ctx, l, func(ctx context.Context, c Conn) { i.svc.one(ctx, c, i.read) })
}

// Keep stays connected to addr until ctx ends, as [Keep] does.
func (i *Inlet) Keep(ctx context.Context, t Transport, addr string) error {
	return i.svc.reattach(ctx, t, addr, i.read)
}

// read calls the methods of the events that come.
func (i *Inlet) read(ctx context.Context, c Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(ErrLostRemote)
	if i.subs {
		if err := c.Send([][]byte{{1}}); err != nil { // to everything
			return err
		}
	}
	for {
		frames, err := c.Recv()
		if err != nil {
			return err
		}
		e, err := parseEvent(frames[len(frames)-1])
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.name, "_zpc_") {
			continue
		}
		if err := i.take(ctx, c.Peer(), e); err != nil {
			i.svc.Logger.Warn("event failed", "method", e.name, "peer", c.Peer().Name, "addr", c.Peer().Addr, "err", err)
		}
	}
}

// take runs the method of one event.
func (i *Inlet) take(ctx context.Context, from Peer, e event) error {
	call := &Call{Method: e.name, Peer: from, svc: i.svc, args: e.args, header: e.header}
	received := time.Now()
	if err := i.svc.admit(call, e); err != nil {
		return err
	}
	if call.Streams() {
		return invalid("%s answers by a stream, and nobody listens", e.name)
	}
	due, err := e.due(received)
	if err == nil {
		err = late(due, received)
	}
	if err != nil {
		return err
	}
	if !due.IsZero() {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, due)
		defer stop()
	}
	_, err = i.svc.handler(ctx, call)
	return err
}
