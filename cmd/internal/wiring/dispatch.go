package wiring

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"

	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

// dispatch is what all links of one process have in common: who may call what,
// what a call is part of, and which calls run once.
type dispatch struct {
	tracer *trace.Tracer
	once   *rpc.Once
	allow  func(*rpc.Call) error
	begins []string // methods that begin a trace when their caller has none
	logger *slog.Logger
}

func newDispatch(ctx context.Context, part string, who grants, logger *slog.Logger, begins ...string) (*dispatch, error) {
	tracer, err := trace.New(ctx, part)
	if err != nil {
		return nil, err
	}
	return &dispatch{tracer: tracer, once: rpc.NewOnce(rpc.OnceConfig{Forget: undone}), allow: who.allow, begins: begins, logger: logger}, nil
}

// undone tells errors after which the call may be tried again with the same
// idempotency key: nothing was done, or, of what is Unavailable, nothing that
// does harm when it is done again. What may have run once and must not run
// twice, such as exec, has to fail with another kind when its end is not known.
func undone(err error) bool {
	told, ok := errors.AsType[*placement.Error](err)
	return ok && slices.Contains([]string{placement.KindInvalid, placement.KindNotFound, placement.KindRefused, placement.KindUnavailable}, told.Kind)
}

// config is that of links which serve the methods, and the spans of the
// process. What is between sees a call before it is found to be a second one.
func (d *dispatch) config(identity string, methods rpc.Methods, between ...func(rpc.Handler) rpc.Handler) rpc.Config {
	all := d.tracer.Methods()
	maps.Copy(all, methods)
	return rpc.Config{
		Identity: identity, Methods: all, Logger: d.logger, Allow: d.allow,
		Serve:  slices.Concat([]func(rpc.Handler) rpc.Handler{d.tracer.Serve(d.begins...)}, between, []func(rpc.Handler) rpc.Handler{d.once.Serve}),
		Invoke: []func(rpc.Invoker) rpc.Invoker{trace.Invoke},
	}
}

// Close ends the calls that go on without their caller, and exports the last
// traces.
func (d *dispatch) Close(ctx context.Context) error {
	return errors.Join(d.once.Close(), d.tracer.Close(ctx))
}
