package agent

import (
	"context"
	"sync"

	"longshore/internal/placement"
)

// kind is what a task does.
type kind string

const (
	placing  kind = "placing"
	resuming kind = "resuming" // asks about a copy that ended, or may have started
	removing kind = "removing"
)

// phase is how far a placing task is, as far as others must know.
type phase int

const (
	preparing phase = iota // nothing in Docker yet
	creating               // a container may be there that must not start but by an answer in hand
	starting               // it was told to start
)

// task is the work on one placement. There is one at a time for each.
type task struct {
	id    placement.ID
	epoch placement.Epoch
	kind  kind
	done  chan struct{} // closed when it has ended

	// Guarded by the agent's mutex:
	phase  phase
	word   string             // what a person reads: "pulling 12 of 80 MB"
	ended  bool               // it was asked to end
	why    placement.Reason   // why it was
	cancel context.CancelFunc // once it runs
	again  bool               // a listing told something of the copy meanwhile
}

// begin makes a task for the placement, unless it has one; a.mu is held.
func (a *Agent) begin(id placement.ID, e placement.Epoch, k kind) *task {
	if a.tasks[id] != nil {
		return nil
	}
	t := &task{id: id, epoch: e, kind: k, done: make(chan struct{})}
	a.tasks[id] = t
	if k == placing {
		a.placing++
	}
	return t
}

// finish ends the task's hold on its placement. Twice is as once.
func (a *Agent) finish(t *task) {
	a.mu.Lock()
	if a.tasks[t.id] != t {
		a.mu.Unlock()
		return
	}
	delete(a.tasks, t.id)
	if t.kind == placing {
		a.placing--
	}
	again := t.again
	a.mu.Unlock()
	close(t.done)
	if again {
		a.markDirty()
	}
}

// end asks the task to give up what it has not been answered for; a.mu is held.
func (t *task) end(why placement.Reason) {
	if t.ended {
		return
	}
	t.ended, t.why = true, why
	if t.cancel != nil {
		t.cancel()
	}
}

// during is ctx until the task is asked to end. The caller calls stop.
func (a *Agent) during(ctx context.Context, t *task) (_ context.Context, stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	t.cancel = cancel
	ended := t.ended
	a.mu.Unlock()
	if ended {
		cancel()
	}
	return ctx, cancel
}

// endedBy is why the task was asked to end, for the broadcaster.
func (a *Agent) endedBy(t *task) placement.Reason {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.ended {
		return t.why
	}
	return placement.Reason{Code: placement.ReasonDraining, Text: "the agent is stopping"}
}

// slots bound how many containers of one owner are created or started at
// once; an owner whose daemon hangs fills only their own.
type slots struct {
	each int

	mu sync.Mutex
	of map[string]chan struct{}
}

func newSlots(each int) *slots { return &slots{each: each, of: map[string]chan struct{}{}} }

// take waits for one of the owner's slots. It is given back by calling back.
func (s *slots) take(ctx context.Context, owner string) (back func(), err error) {
	s.mu.Lock()
	c := s.of[owner]
	if c == nil {
		c = make(chan struct{}, s.each)
		s.of[owner] = c
	}
	s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err() // select would choose by chance
	}
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
