package agent

import (
	"context"
	"time"

	"longshore/internal/placement"
)

// resume sees to a copy that was started, or told to start, and does not run:
// it asks the ledger until that is settled. Restarting is the ledger's policy;
// Docker never restarts by itself, and a copy that was bound never gives itself
// up on silence.
//
//	yes: start again   wait: ask later   no: remove   done: keep it stopped
func (a *Agent) resume(ctx context.Context, t *task) {
	defer a.finish(t)
	ctx, stop := a.during(ctx, t)
	defer stop()
	// Of many that ended together each asks at a moment of its own.
	if !wait(ctx, a.dice.UpTo(time.Millisecond, "ask "+string(t.id))) {
		return
	}
	for failures := 0; ; {
		again, err := a.resumeOnce(ctx, t)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			again = Backoff(failures, a.dice.Unit("resume "+string(t.id)))
			if failures == 5 {
				a.Logger.Warn("cannot resume a copy yet", "placement", t.id, "epoch", t.epoch, "err", err)
			}
		case again == 0:
			return
		default:
			failures = 0
		}
		if !wait(ctx, again) {
			return
		}
	}
}

// resumeOnce asks once and does what it is told. It answers when to ask again;
// 0 with a nil error: it is settled.
func (a *Agent) resumeOnce(ctx context.Context, t *task) (again time.Duration, err error) {
	if err := a.registered(ctx); err != nil {
		return 0, err
	}
	back, err := a.starts.take(ctx, t.id.Owner())
	if err != nil {
		return 0, err
	}
	defer back()
	e, there := a.entry(t.id, t.epoch)
	b := placement.Bind{ID: t.id, Epoch: t.epoch, Digest: e.digest}
	switch {
	case !there || e.state == placement.CopyRunning:
		return 0, nil
	case e.state == placement.CopyExited:
		b.Exit = &e.exit
	}
	if h, found := a.holds(t.id); found && h.published() {
		if err := a.expose(ctx, h); err != nil {
			return 0, err
		}
	}
	answer, q, err := a.ask(ctx, b)
	if err != nil {
		return 0, err
	}
	switch answer.Verdict {
	case placement.VerdictYes:
		return 0, a.relaunch(ctx, t, q)
	case placement.VerdictNo:
		a.Logger.Info("copy is not wanted back", "placement", t.id, "epoch", t.epoch, "why", answer.Reason)
		a.removeUntilGone(ctx, t, a.cfg.StopGrace)
		return 0, nil
	case placement.VerdictDone:
		a.note(t, func(e *entry) { e.done = true })
		return 0, a.Ports.Withdraw(ctx, t.id)
	default:
		return max(answer.Wait.Duration(), 100*time.Millisecond), nil
	}
}

// relaunch starts the copy again. When Docker does not answer, what became of
// it is looked up before the next question.
func (a *Agent) relaunch(ctx context.Context, t *task, q question) error {
	result, err := a.launch(ctx, t, q)
	switch result {
	case launchDone:
		return nil
	case launchRefused:
		a.failedStart(ctx, t, err)
		return nil
	case launchUnknown:
		if err := a.fresh(ctx); err != nil {
			return err
		}
	case launchVoid:
	}
	return err
}
