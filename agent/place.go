package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/internal/trace"
)

// undoWait bounds the undoing of one placement, Docker included.
const undoWait = 15 * time.Second

// placingTask takes one offer through the steps. What is marked as done is
// what undo undoes, newest first.
type placingTask struct {
	a        *Agent
	task     *task
	offer    placement.Offer
	digest   string
	received Instant
	step     *trace.Step // the offer, which the work is part of; nil if it is not traced

	claimed bool // a claim is held (the reservation always is)
	stored  bool // the request file counts this copy as a user
	created bool // a container may be there

	mu    sync.Mutex
	moved time.Time     // last progress
	poke  chan struct{} // the word changed: say so at once
}

// given is why a placement was given up before the ledger was told to expect
// its start.
type given struct{ placement.Reason }

func (g *given) Error() string { return g.String() }

func giveUp(code string, err error) error {
	return &given{placement.Reason{Code: code, Text: firstLine(err)}}
}

// errStalled ends a placement that has made no progress for too long.
var errStalled = errors.New("no progress for too long")

// run goes through the steps. When it returns, the copy runs, or is left to
// the ledger's word, or nothing is left of it.
func (p *placingTask) run(ctx context.Context) {
	ctx, stop := p.a.during(ctx, p.task)
	defer stop()
	steps, place := trace.Start(trace.Into(ctx, p.step), "place")
	work, stall := context.WithCancelCause(steps)
	defer stall(nil)
	p.poke = make(chan struct{}, 1)
	p.say("locked")
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		p.keep(trace.Into(work, nil), stall)
	}()
	err := p.steps(work)
	place.End(err)
	cause := context.Cause(work)
	stall(nil)
	<-kept
	p.end(ctx, err, cause)
}

// end settles the placement after its last step.
func (p *placingTask) end(ctx context.Context, err, cause error) {
	if err == nil {
		p.release(ctx)
		p.a.finish(p.task)
		return
	}
	var g *given
	switch {
	case errors.Is(cause, errStalled):
		g = &given{placement.Reason{Code: placement.ReasonImage, Text: fmt.Sprintf("no progress for %s", p.a.cfg.Stall)}}
	case ctx.Err() != nil:
		g = &given{p.a.endedBy(p.task)}
	case !errors.As(err, &g):
		g = &given{placement.Reason{Code: placement.ReasonBind, Text: firstLine(err)}}
	}
	p.undo(ctx)
	p.a.Logger.Info("placement given up", "placement", p.task.id, "epoch", p.task.epoch, "why", g.String())
	p.tell(context.WithoutCancel(ctx), &g.Reason)
}

// steps are those between the claim and the end. An error means that what was
// done is to be undone; nil also when the ledger was told of the end already.
func (p *placingTask) steps(ctx context.Context) error {
	kept := make(chan error, 1)
	go func() {
		kept <- trace.Run(ctx, "store request", func(ctx context.Context) error {
			return p.a.requests.keep(ctx, p.digest, p.offer.Request)
		})
	}()
	err := p.fetch(ctx)
	failed := <-kept
	p.stored = failed == nil
	switch {
	case err != nil:
		return err
	case failed != nil:
		return giveUp(placement.ReasonDisk, failed)
	}
	p.say("creating")
	if err := trace.Run(ctx, "create", p.create); err != nil {
		return err
	}
	if err := trace.Run(ctx, "ports", p.expose); err != nil {
		return err
	}
	p.say("binding")
	return p.bind(ctx)
}

// fetch has the owner's daemon and the image be there. The request is made
// durable meanwhile: its file costs two syncs.
func (p *placingTask) fetch(ctx context.Context) error {
	a, owner := p.a, p.task.id.Owner()
	err := trace.Run(ctx, "daemon", func(ctx context.Context) error { return a.Runtime.Ensure(ctx, owner) })
	if err != nil {
		return giveUp(placement.ReasonDaemon, err)
	}
	p.say("pulling")
	err = trace.Run(ctx, "pull", func(ctx context.Context) error {
		return a.Runtime.Pull(ctx, owner, p.offer.Request.Image, p.pulled)
	})
	if err != nil {
		return giveUp(placement.ReasonImage, err)
	}
	return nil
}

// create makes the container, after asking Admit again, with its request
// durable before it.
func (p *placingTask) create(ctx context.Context) error {
	a, o := p.a, p.offer
	if err := a.registered(ctx); err != nil {
		return err
	}
	if err := p.admitAgain(); err != nil {
		return err
	}
	back, err := a.starts.take(ctx, p.task.id.Owner())
	if err != nil {
		return err
	}
	p.created = true
	call, stop := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Docker)
	err = a.Runtime.Create(call, dockerd.Spec{
		Cluster: a.Cluster(), ID: o.ID, Epoch: o.Epoch, Gen: o.Mark.Gen,
		Request: o.Request, Needs: needs(o.Request, a.cfg.Defaults),
	})
	stop()
	back()
	if err != nil {
		a.markDirty() // there may be a copy that the book does not know
		return giveUp(placement.ReasonStart, err)
	}
	a.note(p.task, func(e *entry) { e.state, e.kept = placement.CopyCreated, true })
	if _, err := a.ops.step(ctx); err != nil {
		return giveUp(placement.ReasonStart, err)
	}
	return nil
}

// expose has the host ports lead to the container.
func (p *placingTask) expose(ctx context.Context) error {
	if err := p.a.expose(ctx, Hold{ID: p.offer.ID, Request: p.offer.Request}); err != nil {
		return giveUp(placement.ReasonHostPort, err)
	}
	return nil
}

// admitAgain checks the room before the container is made, and marks that
// from now on a registration undoes this placement.
func (p *placingTask) admitAgain() error {
	a := p.a
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state()
	s.Holds, s.Busy = a.book.others(p.task.id), s.Busy-1
	if ok, why := Admit(s, p.offer); !ok {
		return &given{why}
	}
	p.task.phase = creating
	return nil
}

// bind asks until the ledger has answered, and starts the copy on a yes.
func (p *placingTask) bind(ctx context.Context) error {
	asked, failures := time.Now(), 0
	for {
		again, err := p.bindOnce(ctx)
		switch {
		case ctx.Err() != nil && !p.left():
			return ctx.Err()
		case err == nil && again == 0:
			return nil
		case err == nil:
			asked, failures = time.Now(), 0
			p.move()
		case !errors.Is(err, errAgain):
			return err
		default:
			failures++
			again = Backoff(failures, p.a.dice.Unit("bind "+string(p.task.id)))
			if time.Since(asked) > max(p.a.cfg.Silence, p.offer.Valid.Duration()) {
				return giveUp(placement.ReasonSilence, err)
			}
		}
		if !wait(ctx, again) {
			return ctx.Err()
		}
	}
}

// errAgain wraps what makes a bind worth another try.
var errAgain = errors.New("ask again")

// bindOnce asks once. It answers when to ask again; 0 with a nil error: it is
// settled, and nothing is to be undone.
func (p *placingTask) bindOnce(ctx context.Context) (again time.Duration, err error) {
	a, t := p.a, p.task
	if err := a.registered(ctx); err != nil {
		return 0, err
	}
	back, err := a.starts.take(ctx, t.id.Owner())
	if err != nil {
		return 0, err
	}
	defer back()
	answer, q, err := a.ask(ctx, placement.Bind{ID: t.id, Epoch: t.epoch, Digest: p.digest})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errAgain, err)
	}
	switch answer.Verdict {
	case placement.VerdictYes:
	case placement.VerdictWait:
		return max(answer.Wait.Duration(), 100*time.Millisecond), nil
	default:
		return 0, &given{placement.Reason{Code: placement.ReasonBind, Text: answer.Reason}}
	}
	p.say("starting")
	_, step := trace.Start(ctx, "start")
	result, err := a.launch(ctx, t, q)
	step.End(err)
	switch result {
	case launchDone:
		return 0, nil
	case launchRefused:
		a.failedStart(ctx, t, err)
		return 0, nil
	case launchUnknown:
		a.Logger.Warn("docker did not answer a start", "placement", t.id, "epoch", t.epoch, "err", err)
		a.mu.Lock()
		t.again = true // the next listing shows what became of it; then it is asked about
		a.mu.Unlock()
		return 0, nil
	case launchVoid:
	}
	return 0, fmt.Errorf("%w: %w", errAgain, err)
}

// left tells whether the copy was told to start: then it is the ledger's.
func (p *placingTask) left() bool {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	return p.task.phase == starting
}

// undo undoes what was done, newest first, and finishes the task. A container
// that cannot be removed keeps its room and its request; it is removed when it
// can be.
func (p *placingTask) undo(ctx context.Context) {
	a, t := p.a, p.task
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), undoWait)
	defer stop()
	defer a.finish(t)
	defer p.release(ctx)
	a.note(t, func(e *entry) { e.kept = p.stored })
	if !p.created {
		a.drop(t.id, t.epoch)
		return
	}
	if err := a.remove(ctx, t.id, t.epoch, 0); err != nil {
		a.Logger.Warn("cannot undo a placement yet", "placement", t.id, "epoch", t.epoch, "err", err)
		a.note(t, func(e *entry) { e.state = placement.CopyCreated })
		a.mu.Lock()
		t.again = true
		a.mu.Unlock()
	}
}
