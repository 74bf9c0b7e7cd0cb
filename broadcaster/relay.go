package broadcaster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"longshore/internal/placement"
	"longshore/rpc"
)

// ownWords are methods of an agent that only the broadcaster itself may call:
// they are the ledger's word.
var ownWords = []string{"offer", "stop"}

// relayMethods pass calls on to nodes.
func (b *Broadcaster) relayMethods() rpc.Methods {
	return rpc.Methods{
		"exec": b.execMethod(),
		"call": {
			Doc:  "Call any method of a node's agent, by the link that it keeps here, and return what it returns. args is the list of its arguments. _zerorpc_inspect tells the methods.",
			Args: []string{"node", "method", "args"}, Defaults: []any{[]any{}},
			In: []reflect.Type{reflect.TypeFor[placement.NodeID](), reflect.TypeFor[string](), reflect.TypeFor[[]any]()}, Out: reflect.TypeFor[any](),
			Call: func(ctx context.Context, c *rpc.Call) (any, error) {
				link, q, err := b.relayed(c)
				if err != nil {
					return nil, err
				}
				var result any
				err = link.Call(onBehalf(ctx, c), q.method, &result, q.args...)
				return result, q.failure(err)
			},
		},
		"call_stream": {
			Doc:  "Call any method of a node's agent that sends items, and send them on.",
			Args: []string{"node", "method", "args"}, Defaults: []any{[]any{}},
			In: []reflect.Type{reflect.TypeFor[placement.NodeID](), reflect.TypeFor[string](), reflect.TypeFor[[]any]()},
			Stream: func(ctx context.Context, c *rpc.Call, send func(any) error) error {
				link, q, err := b.relayed(c)
				if err != nil {
					return err
				}
				return q.failure(relayStream(onBehalf(ctx, c), link, q, send))
			},
		},
	}
}

// relay is a call that is passed on.
type relay struct {
	node   placement.NodeID
	method string
	args   []any
}

// relayed reads what is to be called, and finds the node's link.
func (b *Broadcaster) relayed(c *rpc.Call) (link caller, q relay, err error) {
	if err = c.Decode(&q.node, &q.method, &q.args); err != nil {
		return nil, q, err
	}
	if err = placement.CheckName("node", string(q.node)); err != nil {
		return nil, q, err
	}
	if slices.Contains(ownWords, q.method) {
		return nil, q, &placement.Error{
			Kind: placement.KindRefused, What: fmt.Sprintf("%s of node %s cannot be called from here", q.method, q.node), Why: "it is the ledger's own word",
			Next: "call stop, start or destroy of the broadcaster",
		}
	}
	link, err = b.deps.Agents.reach(q.node)
	return link, q, err
}

// failure says which node could not be heard. An error of the method itself is
// passed on as it is.
func (q relay) failure(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if remote, ok := errors.AsType[*rpc.RemoteError](err); ok {
		return placement.ErrorFrom(remote.Name, remote.Message)
	}
	return &placement.Error{
		Kind: placement.KindUnavailable, What: fmt.Sprintf("%s on node %s was not answered", q.method, q.node), Why: strings.TrimSpace(err.Error()),
		Next: "it may have been done or not: look, and call again with the same idempotency key",
	}
}

func relayStream(ctx context.Context, link caller, q relay, send func(any) error) error {
	s, err := link.Stream(ctx, q.method, q.args...)
	if err != nil {
		return err
	}
	defer s.Close()
	for item, err := range rpc.Items[any](s) {
		if err != nil {
			return err
		}
		if err := send(item); err != nil {
			return err
		}
	}
	return nil
}

// reach is the link to a node's agent, or why there is none.
func (a *Agents) reach(node placement.NodeID) (caller, error) {
	if link := a.link(node); link != nil {
		return link, nil
	}
	return nil, &placement.Error{
		Kind: placement.KindUnavailable, What: fmt.Sprintf("node %s cannot be called", node), Why: errNoAgent.Error(),
		Next: "schedctl node ls shows who is there; on the machine itself its socket answers",
	}
}

// onBehalf is the context of a call that is passed on: it carries who made it,
// and its idempotency key.
func onBehalf(ctx context.Context, c *rpc.Call) context.Context {
	ctx = context.WithValue(ctx, behalf{}, whose(c))
	if key, ok, err := c.IdempotencyKey(); err == nil && ok {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	return ctx
}

type behalf struct{}

// TellCaller is the middleware, for [rpc.Config.Invoke], by which a node learns
// for whom the broadcaster passes a call on ([placement.CallerKey]).
func TellCaller(next rpc.Invoker) rpc.Invoker {
	return func(ctx context.Context, r *rpc.Request) error {
		if who, ok := ctx.Value(behalf{}).(string); ok {
			r.Set(placement.CallerKey, who)
		}
		return next(ctx, r)
	}
}
