package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
)

// Central is the broadcaster's side of a node's link. Each call ends with its
// context; one that is repeated does no harm.
type Central interface {
	// Link opens the link and numbers it.
	Link(ctx context.Context, h placement.Hello) (placement.Link, error)
	// Report hands in a report. An error with kind [placement.KindRegister]
	// means that the link is void.
	Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, error)
	// Beat says that the process lives.
	Beat(ctx context.Context, b placement.Beat) error
}

const maxEvents = 1000 // that wait to be sent; more are told by a listing

// A listing is complete, and as of the op that was read before it.
type listing struct {
	Listing
	at     *placement.SessionOp
	room   placement.Room
	number uint64
	digest string
}

// An event is one copy's, and as of the op read before the last listing begun.
type event struct {
	copied placement.Copy
	at     *placement.SessionOp
	after  uint64 // number of that listing
}

// A session is one link to one broadcaster.
type session struct {
	link placement.Link
	from uint64 // the first listing begun after the link was opened
	wake chan struct{}

	// The watcher's mutex guards what waits to be sent.
	full   *listing
	events []event

	// The sending loop's own.
	seq   uint64
	acked string // digest of the listing acknowledged last
}

// add takes an event in; true means that there were too many.
func (s *session) add(e event) bool {
	if e.after < s.from {
		return false // the first listing shows it
	}
	defer poke(s.wake)
	if len(s.events) >= maxEvents {
		s.events = nil
		return true
	}
	s.events = append(s.events, e)
	return false
}

// show takes a listing in; it says all that the events before it said.
func (s *session) show(l *listing) {
	if l.number < s.from {
		return
	}
	s.full = l
	s.events = slices.DeleteFunc(s.events, func(e event) bool { return e.after < l.number })
	poke(s.wake)
}

// batch splits events into those that one report can tell, each copy once and
// all as of one op, and the rest.
func batch(events []event) (now, rest []event) {
	seen := map[placement.ID]bool{}
	for i, e := range events {
		if seen[e.copied.ID] || e.at != events[0].at {
			return events[:i], events[i:]
		}
		seen[e.copied.ID] = true
	}
	return events, nil
}

// Attend opens a link to a broadcaster, beats and reports on it until ctx or
// the link ends, and says which. The first report is a complete listing, begun
// after the link was opened. It may run for several broadcasters at once, each
// with a link of its own.
func (w *Watcher) Attend(ctx context.Context, c Central) error {
	link, err := w.open(ctx, c)
	if err != nil {
		return fmt.Errorf("open link: %w", err)
	}
	s := &session{link: link, wake: make(chan struct{}, 1)}
	w.mu.Lock()
	s.from = w.begun + 1
	w.sessions = append(w.sessions, s)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sessions = slices.DeleteFunc(w.sessions, func(o *session) bool { return o == s })
	}()
	poke(w.now)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.beat(ctx, c, s) })
	g.Go(func() error { return w.send(ctx, c, s) })
	return g.Wait()
}

func (w *Watcher) open(ctx context.Context, c Central) (placement.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	link, err := c.Link(ctx, placement.Hello{V: placement.Format, Cluster: w.cfg.Cluster, Node: w.cfg.Node})
	if err != nil {
		return link, err
	}
	if w.cfg.Cluster != "" && link.Cluster != w.cfg.Cluster {
		return link, fmt.Errorf("it serves cluster %s, this node %s", link.Cluster, w.cfg.Cluster)
	}
	return link, nil
}

// beat says each second that we live, whatever the reports do.
func (w *Watcher) beat(ctx context.Context, c Central, s *session) error {
	b := placement.Beat{Cluster: s.link.Cluster, Node: w.cfg.Node, Role: placement.RoleHostinfo}
	for {
		b.Alarm = w.cfg.Alarm()
		call, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
		err := c.Beat(call, b)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if void(err) {
			return fmt.Errorf("beat: %w", err)
		}
		if err := pause(ctx, jitter(w.cfg.Beat, w.dice.Unit(fmt.Sprint("beat ", s.link.Link)))); err != nil {
			return err
		}
	}
}

// send tells what waits, as it comes.
func (w *Watcher) send(ctx context.Context, c Central, s *session) error {
	failing := false
	for {
		r, l := w.take(s)
		if r == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.wake:
			}
			continue
		}
		err := w.report(ctx, c, s, *r, l)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case void(err):
			return fmt.Errorf("report: %w", err)
		case err != nil && !failing:
			w.cfg.Logger.Warn("report failed", "node", w.cfg.Node, "err", err)
		case err == nil && failing:
			w.cfg.Logger.Info("reports go through again", "node", w.cfg.Node)
		}
		failing = err != nil
	}
}

// take makes the next report of what waits: events first, they are news. With
// a complete one comes the listing it tells.
func (w *Watcher) take(s *session) (*placement.Report, *listing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &placement.Report{V: placement.Format, Cluster: s.link.Cluster, Node: w.cfg.Node, Link: s.link.Link, Room: w.room}
	if len(s.events) > 0 {
		var now []event
		now, s.events = batch(s.events)
		r.At = now[0].at
		for _, e := range now {
			r.Copies = append(r.Copies, e.copied)
		}
		return r, nil
	}
	l := s.full
	if l == nil {
		return nil, nil
	}
	s.full = nil
	r.Full, r.At, r.Room = true, l.at, l.room
	return r, l
}

// report sends r, with the listing l if it is complete: as its digest if the
// other end has it already.
func (w *Watcher) report(ctx context.Context, c Central, s *session, r placement.Report, l *listing) error {
	if l != nil && l.digest == s.acked {
		r.Same = l.digest
	} else if l != nil {
		r.Daemons, r.Copies = l.Daemons, l.Copies
	}
	answer, err := w.call(ctx, c, s, r)
	if err == nil && answer.Resend && l != nil && r.Same != "" {
		r.Same, r.Daemons, r.Copies = "", l.Daemons, l.Copies
		answer, err = w.call(ctx, c, s, r)
	}
	if err != nil || l == nil {
		return err
	}
	if !answer.Resend {
		s.acked = l.digest
	}
	return nil
}

func (w *Watcher) call(ctx context.Context, c Central, s *session, r placement.Report) (placement.ReportAnswer, error) {
	s.seq++
	r.Seq = s.seq
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	answer, err := c.Report(ctx, r)
	if err == nil {
		w.mu.Lock()
		w.reports++
		w.mu.Unlock()
	}
	return answer, err
}

// void tells whether the broadcaster wants the link opened again.
func void(err error) bool {
	var e *placement.Error
	return errors.As(err, &e) && e.Kind == placement.KindRegister
}

// age is how long ago t was; -1 if never.
func age(t time.Time) placement.Millis {
	if t.IsZero() {
		return -1
	}
	return placement.Millis(time.Since(t).Milliseconds())
}
