package agent

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"longshore/internal/placement"
)

// wordGap is how long any word but the first waits to be sent: of those that
// pass quickly only the last is, and a start without a hitch is not slowed by
// them.
const wordGap = 25 * time.Millisecond

// say sets the word that people read of the placement; it is sent in a moment.
func (p *placingTask) say(word string) {
	p.a.mu.Lock()
	p.task.word = word
	p.a.mu.Unlock()
	p.move()
	signal(p.poke)
}

// move notes that the placement made progress.
func (p *placingTask) move() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = time.Now()
}

// pulled notes the progress of a pull; the next regular word tells of it.
func (p *placingTask) pulled(done, total int64) {
	const mb = 1e6
	word := fmt.Sprintf("pulling %.0f MB", float64(done)/mb)
	if total > 0 {
		word = fmt.Sprintf("pulling %.0f of %.0f MB", float64(done)/mb, float64(total)/mb)
	}
	p.a.mu.Lock()
	p.task.word = word
	p.a.mu.Unlock()
	p.move()
}

// keep keeps the broadcaster told and the claim alive, for as long as the
// placement makes progress. Losing the claim stops nothing: the bind decides.
func (p *placingTask) keep(ctx context.Context, stall context.CancelCauseFunc) {
	// A jittered phase: what was taken together is not renewed together.
	timer := time.NewTimer(time.Duration((0.5 + 0.5*p.a.dice.Unit("keep "+string(p.task.id))) * float64(p.a.cfg.Renew)))
	defer timer.Stop()
	var news <-chan time.Time
	for gap := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-p.poke:
			if news == nil {
				news = time.After(gap)
				gap = wordGap
			}
			continue
		case <-news:
			news = nil
			p.tell(ctx, nil)
			continue
		case <-timer.C:
			timer.Reset(p.a.cfg.Renew)
		}
		p.mu.Lock()
		still := time.Since(p.moved)
		p.mu.Unlock()
		if still >= p.a.cfg.Stall {
			stall(errStalled)
			return
		}
		if p.claimed {
			_, _, _ = p.claim(ctx)
		}
		p.tell(ctx, nil)
	}
}

// tell sends a word of progress, or that the offer was given up. A link that
// is down loses it: the next word says more.
func (p *placingTask) tell(ctx context.Context, why *placement.Reason) {
	p.a.mu.Lock()
	word := p.task.word
	p.a.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, p.a.cfg.RPC)
	defer stop()
	err := p.a.Broadcaster.Progress(ctx, placement.Progress{
		Cluster: p.a.Cluster(), Node: p.a.cfg.Node, ID: p.task.id, Epoch: p.task.epoch,
		Phase: cmp.Or(word, "locked"), Given: why,
	})
	if err != nil {
		p.a.Logger.Debug("progress was not heard", "placement", p.task.id, "err", err)
	}
}
