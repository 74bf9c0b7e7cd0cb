package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
)

// sweepWait bounds how long a registration waits for the tasks that it ended,
// and for the copies that it removes. What hangs longer holds up its owner
// only: nobody has an answer in hand that could start it.
const sweepWait = 10 * time.Second

// registration is the agent's standing with the ledger. The agent's mutex
// guards it.
//
//	start, link up, newer ledger ─> not registered: every answer is void
//	   ─> Register ─> tasks between create and start undone
//	   ─> sweep of never-started copies ─> mark saved, op file holds the session
//	   ─> registered
type registration struct {
	session uint64 // 0: not registered
	gen     uint64 // of the ledger registered with
	start   placement.Start
	done    chan struct{} // closed when registered
	links   int           // how often the link came up
	known   int           // links at the registration in force
	again   bool          // the ledger asks for it
}

// errVoid is an answer that may not be acted upon.
var errVoid = errors.New("the answer does not count")

// Linked tells the agent that the link to the broadcaster came up: it
// registers, since it may be another ledger's start that answers there.
func (a *Agent) Linked() {
	a.countLink()
	a.wakeRegistrar()
}

func (a *Agent) countLink() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reg.links++
}

// Cluster is the ID of the cluster that is served; "" before the first
// registration.
func (a *Agent) Cluster() string {
	cluster, _ := a.pin.get()
	return cluster
}

// hear takes in the mark of a message. An error means that the message is an
// older generation's, or a newer ledger's that the agent must register with
// before it does its bidding.
func (a *Agent) hear(m placement.Mark) error {
	cluster, highest := a.pin.get()
	if m.Gen < highest.Gen {
		return &placement.Error{
			Kind: placement.KindRefused,
			What: fmt.Sprintf("this is the word of generation %d of the ledger", m.Gen),
			Why:  fmt.Sprintf("the node has heard generation %d", highest.Gen),
		}
	}
	if cluster != "" {
		a.pin.see(m)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reg.session == 0 || cmp.Or(cmp.Compare(m.Gen, a.reg.gen), cmp.Compare(m.Start, a.reg.start)) > 0 {
		a.reg.again = true
		a.wakeRegistrar()
		return &placement.Error{Kind: placement.KindRegister, What: "the node is not registered with this start of the ledger yet", Next: "it registers now; ask again"}
	}
	return nil
}

// registerAgain is done on the ledger's word.
func (a *Agent) registerAgain() {
	a.mu.Lock()
	a.reg.again = true
	a.mu.Unlock()
	a.wakeRegistrar()
}

// registered waits until the node is registered.
func (a *Agent) registered(ctx context.Context) error {
	a.mu.Lock()
	done := a.reg.done
	a.mu.Unlock()
	if !closed(ctx, done) {
		return ctx.Err()
	}
	return nil
}

func (a *Agent) mustRegister() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reg.session == 0 || a.reg.again || a.reg.links != a.reg.known
}

// keepRegistered registers whenever it must, until ctx ends.
func (a *Agent) keepRegistered(ctx context.Context) {
	failures, last := 0, ""
	for ctx.Err() == nil {
		if !a.mustRegister() {
			failures, last = 0, ""
			select {
			case <-a.wake:
			case <-ctx.Done():
			}
			continue
		}
		err := a.register(ctx)
		if err == nil && !a.mustRegister() {
			continue
		}
		failures++
		if err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			level := slog.LevelWarn
			if kindOf(err) == placement.KindUnavailable {
				level = slog.LevelDebug // no link: whoever keeps it says so
			}
			a.Logger.Log(ctx, level, "cannot register yet", "err", err)
		}
		timer := time.NewTimer(Backoff(failures, a.dice.Unit("register")))
		select {
		case <-timer.C:
		case <-a.wake: // the link came up
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// register goes through the diagram of [registration] once.
func (a *Agent) register(ctx context.Context) error {
	links, before := a.unregister()
	cluster, highest := a.pin.get()
	call, stop := context.WithTimeout(ctx, a.cfg.RPC)
	answer, err := a.Broadcaster.Register(call, placement.Register{
		V: placement.Format, Cluster: cluster, Node: a.cfg.Node, Session: a.ops.now().Session,
		Mark: highest, Address: a.cfg.Address, Labels: a.cfg.Labels,
	})
	stop()
	switch {
	case err != nil:
		return fmt.Errorf("register: %w", err)
	case answer.Cluster == "" || cluster != "" && answer.Cluster != cluster:
		return otherCluster(cluster, answer.Cluster, a.pin.path("cluster"))
	case answer.Mark.Gen < highest.Gen:
		return fmt.Errorf("register: the ledger has generation %d, older than %d", answer.Mark.Gen, highest.Gen)
	}
	a.pin.see(answer.Mark)
	a.endPlacing(func(t *task) bool {
		return t.phase == creating || t.phase == preparing && answer.Mark.Start != before
	})
	a.awaitEnded(ctx)
	if err := a.sweep(ctx); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := a.pin.save(ctx, answer.Cluster); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := a.ops.begin(ctx, answer.Cluster, answer.Session); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	a.mu.Lock()
	a.reg.session, a.reg.gen, a.reg.start = answer.Session, answer.Mark.Gen, answer.Mark.Start
	a.reg.known, a.reg.again = links, false
	close(a.reg.done)
	a.mu.Unlock()
	a.Logger.Info("registered", "cluster", answer.Cluster, "session", answer.Session)
	a.markDirty() // copies that exited meanwhile
	return nil
}

// unregister voids every answer in hand, and ends the tasks that hold a copy
// which has not been told to start.
func (a *Agent) unregister() (links int, start placement.Start) {
	a.mu.Lock()
	if a.reg.session != 0 {
		a.reg.session, a.reg.done = 0, make(chan struct{})
	}
	links, start = a.reg.links, a.reg.start
	a.mu.Unlock()
	a.endPlacing(func(t *task) bool { return t.phase == creating })
	return links, start
}

// endPlacing ends the placing tasks that which chooses.
func (a *Agent) endPlacing(which func(*task) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if t.kind == placing && which(t) {
			t.end(placement.Reason{Code: placement.ReasonStarting, Text: "the agent registers again"})
		}
	}
}

// awaitEnded waits, not for ever, until the tasks that were ended and the
// starts that are under way are through.
func (a *Agent) awaitEnded(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, sweepWait)
	defer stop()
	a.mu.Lock()
	var through []chan struct{}
	for _, t := range a.tasks {
		if t.kind == placing && (t.ended || t.phase == starting) {
			through = append(through, t.done)
		}
	}
	a.mu.Unlock()
	for _, done := range through {
		if !closed(ctx, done) {
			return
		}
	}
}

// sweep removes the copies that were created and never started, whoever left
// them. It fails only if nothing can be listed at all.
func (a *Agent) sweep(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, sweepWait)
	defer stop()
	if err := a.fresh(ctx); err != nil {
		return fmt.Errorf("list the copies to sweep: %w", err)
	}
	var all errgroup.Group
	all.SetLimit(8)
	for _, t := range a.orphans(true) {
		all.Go(func() error {
			defer a.finish(t)
			if err := a.remove(ctx, t.id, t.epoch, 0); err != nil {
				a.Logger.Warn("cannot sweep a copy that never started", "placement", t.id, "epoch", t.epoch, "err", err)
			}
			return nil
		})
	}
	return all.Wait()
}
