package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// hands are the daemons of a node as one process of it has them: the runtime
// and the eyes of the agent, and what hostinfo looks through.
type hands struct {
	d *docker
	p *process
}

// do calls a daemon. A call that fails may have been done all the same.
func (h hands) do(ctx context.Context, what string, id placement.ID, least, most time.Duration, effect func() error) error {
	e := h.p.w.e
	_, err := call(ctx, h.p, e.between(least, most, h.p.name, what, string(id)), what+string(id), func(done func(struct{}, error)) {
		late := time.Duration(0)
		if h.d.slow > 0 {
			late = e.between(0, h.d.slow, h.p.name, what, "slow")
		}
		lost := h.d.failing > 0 && e.chance(h.d.failing, h.p.name, what, "fails")
		switch {
		case lost && e.chance(0.3, h.p.name, what, "refused"):
			done(struct{}{}, errors.Join(dockerd.ErrRefused, errors.New("injected")))
		case lost && e.chance(0.5, h.p.name, what, "never"):
			done(struct{}{}, errors.Join(dockerd.ErrUnknown, errors.New("injected, not done")))
		case lost:
			done(struct{}{}, errors.Join(dockerd.ErrUnknown, errors.New("injected, done later")))
			e.after(e.between(0, 20*time.Second, h.p.name, what, "later"), fnv(h.p.name), func() { _ = h.late(effect) })
		case late > 0:
			e.after(late, fnv(h.p.name), func() { done(struct{}{}, h.late(effect)) })
		default:
			done(struct{}{}, effect())
		}
	})
	if err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errKilled)) {
		return fmt.Errorf("%s %s: %w: %w", what, id, dockerd.ErrUnknown, err)
	}
	return err
}

// late does what was put off, unless the machine has no power by then.
func (h hands) late(effect func() error) error {
	if h.p.host.down {
		return errDaemonDown
	}
	return effect()
}

// Ensure makes the owner's daemon; the first time takes seconds.
func (h hands) Ensure(ctx context.Context, owner string) error {
	e := h.p.w.e
	_, err := call(ctx, h.p, e.between(50*time.Microsecond, 200*time.Microsecond, h.p.name, "ensure", owner), "ensure"+owner, func(done func(struct{}, error)) {
		m := h.d.daemon(owner)
		if m == nil {
			e.after(e.between(500*time.Millisecond, 2*time.Second, h.p.name, "daemon", owner), fnv(owner), func() {
				h.d.ensure(owner)
				done(struct{}{}, nil)
			})
			return
		}
		if !m.up {
			done(struct{}{}, dockerd.ErrNoDaemon)
			return
		}
		done(struct{}{}, nil)
	})
	return err
}

// Pull fetches an image.
func (h hands) Pull(ctx context.Context, owner, image string, progress func(done, total int64)) error {
	progress(1e6, 80e6)
	return h.do(ctx, "pull", placement.ID(image), 100*time.Microsecond, 300*time.Microsecond, func() error {
		m := h.d.daemon(owner)
		switch {
		case m == nil || !m.up:
			return errDaemonDown
		case m.images[image]:
			return nil
		case h.d.noPull:
			return errors.New("the registry does not answer")
		}
		m.images[image] = true
		return nil
	})
}

// Create makes the container.
func (h hands) Create(ctx context.Context, s dockerd.Spec) error {
	return h.do(ctx, "create", s.ID, 5*time.Millisecond, 50*time.Millisecond, func() error { return h.d.create(s) })
}

// Start starts it.
func (h hands) Start(ctx context.Context, _ string, id placement.ID) error {
	return h.do(ctx, "start", id, 20*time.Millisecond, 200*time.Millisecond, func() error { return h.d.start(id) })
}

// Remove stops and removes the container of exactly that epoch.
func (h hands) Remove(ctx context.Context, owner string, id placement.ID, epoch placement.Epoch, grace time.Duration) error {
	find := func() (*container, error) {
		m := h.d.daemon(owner)
		if m == nil {
			return nil, nil
		}
		if !m.up || m.mute {
			return nil, errors.Join(dockerd.ErrUnknown, errDaemonDown)
		}
		if c := m.copies[id]; c != nil && c.Epoch == epoch {
			return c, nil
		}
		return nil, nil
	}
	runs := false
	err := h.do(ctx, "stop", id, time.Millisecond, 10*time.Millisecond, func() error {
		c, err := find()
		if c == nil {
			return err
		}
		runs = c.State == placement.CopyRunning
		if runs && grace == 0 {
			return dockerd.ErrRunning
		}
		h.d.w.judge.stopping(h.d.node, c)
		return nil
	})
	if err != nil {
		return err
	}
	most := 20 * time.Millisecond
	if runs {
		most = min(grace, 2*time.Second)
	}
	return h.do(ctx, "remove", id, time.Millisecond, most, func() error {
		c, err := find()
		if c == nil {
			return err
		}
		if c.State == placement.CopyRunning && grace == 0 {
			return dockerd.ErrRunning
		}
		h.d.exit(c, 143)
		h.d.remove(c)
		return nil
	})
}

// List looks at all daemons, at some moment of the call.
func (h hands) List(ctx context.Context) (dockerd.Listing, error) {
	e := h.p.w.e
	return call(ctx, h.p, e.between(time.Millisecond, 3*time.Millisecond, h.p.name, "list"), "list", func(done func(dockerd.Listing, error)) {
		l := h.d.listing()
		late := e.between(100*time.Microsecond, 5*time.Millisecond+h.d.slow, h.p.name, "listed")
		e.after(late, fnv(h.p.name), func() { done(l, nil) })
	})
}

// watching are the daemons as hostinfo sees them.
type watching struct{ hands }

// List is what the daemons show, but for the defect of the run.
func (h watching) List(ctx context.Context) (dockerd.Listing, error) {
	l, err := h.hands.List(ctx)
	return broken(h.p.w.cfg.Defect.Listing, l), err
}

// Used measures nothing that matters here.
func (h hands) Used(context.Context) (dockerd.Usage, error) { return dockerd.Usage{}, nil }

// Disk likewise.
func (h hands) Disk(context.Context) error { return nil }

// subscription is one watch over the events of a node.
type subscription struct {
	d    *docker
	p    *process
	name string

	// The deliveries'.
	due  time.Duration
	over bool
	deaf bool // the stream is broken: what is told is lost

	mu    sync.Mutex
	queue []dockerd.Event
	ready chan struct{}
}

// send delivers an event after a moment, in order.
func (s *subscription) send(ev dockerd.Event) {
	e := s.p.w.e
	if s.deaf {
		return
	}
	s.due = max(e.now()+e.between(time.Millisecond, 20*time.Millisecond, s.name), s.due+1)
	var arrive func()
	arrive = func() {
		if s.p.paused {
			s.p.backlog = append(s.p.backlog, arrive)
			return
		}
		s.mu.Lock()
		s.queue = append(s.queue, ev)
		s.mu.Unlock()
		poke(s.ready)
	}
	e.at(s.due, fnv(s.name), arrive)
}

// Watch calls f for each event until ctx ends.
func (h hands) Watch(ctx context.Context, f func(dockerd.Event)) error {
	s := &subscription{d: h.d, p: h.p, name: h.p.name + "/events", ready: make(chan struct{}, 1)}
	if !h.p.act("watch", func() { h.d.subs = append(h.d.subs, s); s.send(dockerd.Event{Resync: true}) }) {
		return errKilled
	}
	defer h.p.w.e.after(1, fnv(s.name), func() { s.over = true })
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, ev := range queue {
			f(ev)
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil
		}
	}
}
