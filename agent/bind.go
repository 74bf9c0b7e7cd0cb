package agent

import (
	"context"
	"errors"
	"fmt"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// question is a bind that was sent; its answer counts only for it.
type question struct {
	at   placement.SessionOp
	sent Instant
}

// ask steps op, stores it, sends the bind and returns the answer if it counts.
// Any error means: no answer; ask again with a new op.
func (a *Agent) ask(ctx context.Context, b placement.Bind) (placement.BindAnswer, question, error) {
	if err := a.registered(ctx); err != nil {
		return placement.BindAnswer{}, question{}, err
	}
	at, err := a.ops.step(ctx)
	if err != nil {
		return placement.BindAnswer{}, question{}, err
	}
	q := question{at: at, sent: Now()}
	b.Cluster, b.Node, b.At = a.Cluster(), a.cfg.Node, at
	call, stop := context.WithTimeout(ctx, a.cfg.RPC)
	answer, err := a.Broadcaster.Bind(call, b)
	stop()
	if err != nil {
		if kindOf(err) == placement.KindRegister {
			a.registerAgain()
		}
		return answer, q, fmt.Errorf("bind %s: %w", b.ID, err)
	}
	if answer.Verdict == placement.VerdictStale {
		a.registerAgain()
		return answer, q, fmt.Errorf("bind %s: %w: the node must register again", b.ID, errVoid)
	}
	if err := a.hear(answer.Mark); err != nil {
		return answer, q, fmt.Errorf("bind %s: %w: %w", b.ID, errVoid, err)
	}
	if answer.At != at {
		return answer, q, fmt.Errorf("bind %s: %w: it is that of another bind", b.ID, errVoid)
	}
	a.mu.Lock()
	counts := a.counts(q)
	a.mu.Unlock()
	if !counts {
		return answer, q, fmt.Errorf("bind %s: %w: it is too old", b.ID, errVoid)
	}
	return answer, q, nil
}

// counts tells whether the answer to q may still be acted upon; a.mu is held.
func (a *Agent) counts(q question) bool {
	return a.reg.session == q.at.Session && Counts(q.sent, Now())
}

// kindOf is the kind of an error that crossed the wire, or "".
func kindOf(err error) string {
	var named interface{ ErrorName() string }
	if errors.As(err, &named) {
		return named.ErrorName()
	}
	return ""
}

// launched says what became of a start.
type launched int

const (
	launchVoid    launched = iota // not tried: the answer no longer counts
	launchDone                    // it was started
	launchRefused                 // Docker said no: it does not run
	launchUnknown                 // no answer: it may run
)

// launch starts the copy, on the answer yes to q. The check of the answer's
// age is the last thing before the start.
func (a *Agent) launch(ctx context.Context, t *task, q question) (launched, error) {
	if err := a.pin.flush(ctx); err != nil {
		return launchVoid, err
	}
	a.mu.Lock()
	if t.ended || !a.counts(q) {
		a.mu.Unlock()
		return launchVoid, errVoid
	}
	t.phase = starting
	a.mu.Unlock()

	call, stop := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Docker)
	defer stop()
	err := a.Runtime.Start(call, t.id.Owner(), t.id)
	switch {
	case err == nil:
		a.note(t, func(e *entry) { e.state, e.maybe, e.done = placement.CopyRunning, false, false })
		a.stepped(call)
		return launchDone, nil
	case errors.Is(err, dockerd.ErrRefused):
		return launchRefused, err
	default:
		a.note(t, func(e *entry) { e.maybe = true })
		return launchUnknown, err
	}
}

// note changes what the book says of the task's copy.
func (a *Agent) note(t *task, f func(*entry)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.book.change(t.id, t.epoch, f)
}

// stepped counts a change that was made in Docker. If that cannot be stored,
// nothing is wrong yet: no bind is sent until it can.
func (a *Agent) stepped(ctx context.Context) placement.SessionOp {
	at, err := a.ops.step(ctx)
	if err != nil {
		a.Logger.Error("cannot store op", "err", err)
	}
	return at
}

// sayFailed tells the ledger, until it has heard it, that Docker refused to
// start a bound copy, which is removed.
func (a *Agent) sayFailed(ctx context.Context, f placement.Failed) {
	for failures := 1; ; failures++ {
		call, stop := context.WithTimeout(ctx, a.cfg.RPC)
		err := a.Broadcaster.Failed(call, f)
		stop()
		if err == nil || kindOf(err) == placement.KindInvalid || !wait(ctx, Backoff(failures, a.dice.Unit("failed "+string(f.ID)))) {
			return
		}
	}
}

// failedStart removes a copy that Docker refused to start, and tells the
// ledger. The task is finished when it returns.
func (a *Agent) failedStart(ctx context.Context, t *task, cause error) {
	at, gone := a.removeUntilGone(ctx, t, 0)
	if !gone {
		return // the agent is stopping, and the next one sweeps it; or it runs after all
	}
	f := placement.Failed{
		Cluster: a.Cluster(), Node: a.cfg.Node, ID: t.id, Epoch: t.epoch, At: at,
		Reason: placement.Reason{Code: placement.ReasonStart, Text: firstLine(cause)},
	}
	a.Logger.Warn("docker refused to start", "placement", t.id, "epoch", t.epoch, "err", cause)
	a.spawn(func(ctx context.Context) { a.sayFailed(ctx, f) })
}
