package agent

import (
	"context"
	"fmt"
	"time"

	"longshore/internal/placement"
	"longshore/internal/trace"
)

// Offer answers within milliseconds whether the node takes the placement; the
// work goes on in the background. An offer that is repeated while it is worked
// on is taken again. An offer of another cluster, an older generation, or in
// the wrong form is an error.
func (a *Agent) Offer(ctx context.Context, o placement.Offer) (placement.OfferAnswer, error) {
	received := Now()
	if err := a.checkOffer(o); err != nil {
		return placement.OfferAnswer{}, err
	}
	if err := a.hear(o.Mark); err != nil {
		if kindOf(err) == placement.KindRegister {
			return pass(placement.Reason{Code: placement.ReasonStarting, Text: "the agent is not registered yet"}), nil
		}
		return placement.OfferAnswer{}, err
	}
	step := trace.From(ctx)
	step.About(string(o.ID))
	_, admit := trace.Start(ctx, "admit")
	t, fullness, why := a.reserve(o)
	admit.End(nil)
	if t == nil {
		if why != (placement.Reason{}) {
			a.passed.add(o, why)
			step.Note("passed: " + why.String())
		}
		return placement.OfferAnswer{Taken: why == placement.Reason{}, Reason: why}, nil
	}
	p := &placingTask{a: a, task: t, offer: o, digest: o.Request.Digest(), received: received, step: step}
	racing, race := trace.Start(ctx, "claim")
	why, ok := p.race(racing, fullness)
	race.End(nil)
	if !ok {
		step.Note("passed: " + why.String())
		a.drop(o.ID, o.Epoch)
		a.finish(t)
		a.passed.add(o, why)
		return pass(why), nil
	}
	a.won(o)
	answer := placement.OfferAnswer{Taken: true}
	if !o.Lockless && !p.claimed {
		answer.Reason = placement.Reason{Code: placement.ReasonNoLocks}
	}
	if !a.spawn(p.run) {
		p.undo(ctx)
		return pass(placement.Reason{Code: placement.ReasonDraining, Text: "the agent is stopping"}), nil
	}
	return answer, nil
}

func pass(why placement.Reason) placement.OfferAnswer { return placement.OfferAnswer{Reason: why} }

func (a *Agent) checkOffer(o placement.Offer) error {
	if err := a.checkCluster(o.Cluster); err != nil {
		return err
	}
	if _, err := placement.ParseID(string(o.ID)); err != nil {
		return err
	}
	invalid := func(why string) error {
		return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("the offer of %s is not valid", o.ID), Why: why}
	}
	switch n := o.Request.Needs; {
	case !o.Epoch.Valid():
		return invalid(fmt.Sprintf("%q is no epoch", o.Epoch))
	case o.Request.V != placement.Format:
		return invalid(fmt.Sprintf("its request has format %d, this agent reads %d", o.Request.V, placement.Format))
	case n.CPU < 0 || n.Memory < 0 || n.Disk < 0:
		return invalid("it needs less than nothing")
	}
	return nil
}

// reserve takes room for the placement and begins its task, in one step, so
// that no two offers get the same room. No task and no reason: a task for this
// very offer is at work already.
func (a *Agent) reserve(o placement.Offer) (t *task, fullness float64, why placement.Reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tasks[o.ID]; t != nil {
		if t.kind == placing && t.epoch == o.Epoch && !t.ended {
			return nil, 0, placement.Reason{}
		}
		if t.kind == placing && t.epoch < o.Epoch && t.phase == preparing {
			t.end(placement.Reason{Code: placement.ReasonLock, Text: "offered again at a later epoch"})
		}
		return nil, 0, placement.Reason{Code: placement.ReasonHeld, Have: "a copy of epoch " + string(t.epoch), Text: string(t.kind)}
	}
	s := a.state()
	if ok, why := Admit(s, o); !ok {
		if e := a.book.copies[o.ID]; e != nil && e.done {
			e.done = false // ask again: the ledger has moved on
			a.markDirty()
		}
		return nil, 0, why
	}
	a.book.put(Hold{ID: o.ID, Epoch: o.Epoch, Request: o.Request, Racing: true}, entry{digest: o.Request.Digest()})
	return a.begin(o.ID, o.Epoch, placing), s.Fullness(), placement.Reason{}
}

// won keeps what was reserved for the placement from now on.
func (a *Agent) won(o placement.Offer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i, found := a.book.find(o.ID); found && a.book.holds[i].Epoch == o.Epoch {
		a.book.holds[i].Racing = false
	}
}

// race waits a moment that grows with how full the node is, so that of a
// sample the emptiest node tends to win and not always the fastest, and claims
// the placement. Without claims, by the offer's word or because they cannot be
// reached, every node wins: the bind decides.
func (p *placingTask) race(ctx context.Context, fullness float64) (why placement.Reason, ok bool) {
	wait(ctx, time.Duration(fullness*float64(p.a.cfg.FullestWait)))
	if ctx.Err() != nil {
		return placement.Reason{Code: placement.ReasonSilence, Text: "the caller is gone"}, false
	}
	if !p.offer.Lockless {
		holder, ok, err := p.claim(ctx)
		if err == nil && !ok {
			return placement.Reason{Code: placement.ReasonLock, Have: "taken by " + string(holder)}, false
		}
		p.claimed = err == nil
	}
	if now := Now(); p.offer.Valid > 0 && now.Time.Sub(p.received.Time) > p.offer.Valid.Duration() || !Counts(p.received, now) {
		p.release(ctx)
		return placement.Reason{Code: placement.ReasonSilence, Text: "the offer was no longer valid when its turn came"}, false
	}
	return placement.Reason{}, true
}

// claim takes or renews the claim, and says once when the claims cannot be
// reached, and once when they can again.
func (p *placingTask) claim(ctx context.Context) (holder placement.NodeID, ok bool, err error) {
	a := p.a
	call, stop := context.WithTimeout(ctx, a.cfg.ClaimWait)
	holder, ok, err = a.Claims.Acquire(call, p.task.id, p.task.epoch, a.cfg.Node)
	stop()
	if ctx.Err() != nil {
		return holder, ok, err
	}
	a.mu.Lock()
	changed := a.claimOK != (err == nil)
	a.claimOK = err == nil
	a.mu.Unlock()
	switch {
	case changed && err != nil:
		a.Logger.Warn("claims cannot be reached: placing without them", "err", err)
	case changed:
		a.Logger.Info("claims can be reached again")
	}
	return holder, ok, err
}

// release gives the claim up, if there is one. A claim that cannot be released
// expires.
func (p *placingTask) release(ctx context.Context) {
	if !p.claimed {
		return
	}
	p.claimed = false
	call, stop := context.WithTimeout(context.WithoutCancel(ctx), p.a.cfg.ClaimWait)
	defer stop()
	if err := p.a.Claims.Release(call, p.task.id, p.task.epoch, p.a.cfg.Node); err != nil {
		p.a.Logger.Debug("cannot release a claim", "placement", p.task.id, "err", err)
	}
}
