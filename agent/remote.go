package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// beatEvery is how often the agent says that it lives.
const beatEvery = time.Second

// Remote is the [Broadcaster] at the other end of a link that the agent dials
// and keeps. Without a link every call fails at once. Calls are bounded by
// their contexts.
type Remote struct {
	transport rpc.Transport
	addr      string
	cfg       rpc.Config
	link      atomic.Pointer[rpc.Link]

	// Alarm, if set before Run, is what each beat says an operator should
	// know; "" is nothing.
	Alarm func() string
}

// NewRemote makes the link's end; it dials when [Remote.Run] runs. Identity
// and Methods of cfg are set there.
func NewRemote(t rpc.Transport, addr string, cfg rpc.Config) *Remote {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Remote{transport: t, addr: addr, cfg: cfg, Alarm: func() string { return "" }}
}

// Run runs the agent and keeps its link, on which methods are served. Both end
// with ctx, the agent first, so that its last words are heard. An address that
// can never work ends both.
func (r *Remote) Run(ctx context.Context, a *Agent, methods rpc.Methods) error {
	live, stop := context.WithCancel(ctx)
	defer stop()
	outlive, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	cfg := r.cfg
	cfg.Identity, cfg.Methods = string(a.cfg.Node), methods
	kept := make(chan error, 1)
	go func() {
		defer stop() // an agent that can never have a link has no use
		kept <- rpc.Keep(outlive, r.transport, r.addr, cfg, func(ctx context.Context, l *rpc.Link) error {
			return r.up(ctx, l, a)
		})
	}()
	err := a.Run(live)
	hangUp()
	if kept := <-kept; err == nil {
		err = kept
	}
	return err
}

// up uses the link while it lives: the agent registers, then beats.
func (r *Remote) up(ctx context.Context, l *rpc.Link, a *Agent) error {
	a.countLink() // before the link can be used, so that it rarely registers twice
	r.link.Store(l)
	defer r.link.CompareAndSwap(l, nil)
	a.wakeRegistrar()
	wait(ctx, time.Duration(a.dice.Unit("beat")*float64(beatEvery)))
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if cluster := a.Cluster(); cluster != "" {
			call, stop := context.WithTimeout(ctx, a.cfg.RPC)
			var mark placement.Mark
			err := l.Call(call, "beat", &mark, placement.Beat{Cluster: cluster, Node: a.cfg.Node, Role: placement.RoleAgent, Alarm: r.Alarm()})
			stop()
			if err == nil {
				err = a.hear(mark) // a new start of the ledger is registered with at once
			}
			if err != nil && ctx.Err() == nil {
				a.Logger.Debug("beat was not heard", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Remote) call(ctx context.Context, method string, result any, arg any) error {
	l := r.link.Load()
	if l == nil {
		return &placement.Error{Kind: placement.KindUnavailable, What: "there is no link to the broadcaster at " + r.addr, Next: "it is being dialled again"}
	}
	return l.Call(ctx, method, result, arg)
}

// Register registers the node.
func (r *Remote) Register(ctx context.Context, reg placement.Register) (answer placement.Registered, err error) {
	err = r.call(ctx, "register", &answer, reg)
	return answer, err
}

// Bind asks whether a copy may start.
func (r *Remote) Bind(ctx context.Context, b placement.Bind) (answer placement.BindAnswer, err error) {
	err = r.call(ctx, "bind", &answer, b)
	return answer, err
}

// Wish asks the ledger for what somebody on this node wishes.
func (r *Remote) Wish(ctx context.Context, w placement.Wish) (answer placement.Wished, err error) {
	err = r.call(ctx, "wish", &answer, w)
	return answer, err
}

// Failed says that Docker refused to start a bound copy.
func (r *Remote) Failed(ctx context.Context, f placement.Failed) error {
	return r.call(ctx, "failed", nil, f)
}

// Progress says how far a placement is.
func (r *Remote) Progress(ctx context.Context, p placement.Progress) error {
	return r.call(ctx, "progress", nil, p)
}
