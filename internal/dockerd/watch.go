package dockerd

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"longshore/internal/placement"
)

// Event is news of one owner's daemon.
type Event struct {
	Owner string
	// Copy is what a container does now: created, running, exited with its
	// code, or gone. It is zero in a Resync.
	Copy placement.Copy
	// Resync: the stream of this daemon was connected, or broke. What
	// happened meanwhile is lost: list now.
	Resync bool
}

const (
	lookEvery   = 250 * time.Millisecond // for new daemons
	redialFirst = 50 * time.Millisecond
	redialMost  = 2 * time.Second
)

// Watch calls f, from one goroutine, with each event of each daemon, also of
// those that come later, until ctx ends. For each daemon a Resync comes first:
// what is listed after it, with the events after it on top, is complete.
// Events of a daemon come in order; one may be told twice.
func (o *Observer) Watch(ctx context.Context, f func(Event)) error {
	return o.watch(ctx, f, func(string, time.Time) bool { return false })
}

// watch leaves out the deaths that hidden knows about.
func (o *Observer) watch(ctx context.Context, f func(Event), hidden func(id string, at time.Time) bool) error {
	if err := o.cfg.Check(); err != nil {
		return err
	}
	news := make(chan Event)
	var streams sync.WaitGroup
	defer streams.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var known []string
	for {
		owners, err := o.cfg.owners()
		if err != nil {
			return err
		}
		for _, owner := range owners {
			if !slices.Contains(known, owner) {
				known = append(known, owner)
				s := stream{cfg: o.cfg, owner: owner, hidden: hidden, news: news}
				streams.Go(func() { s.run(ctx) })
			}
		}
		for waiting := true; waiting; {
			select {
			case e := <-news:
				f(e)
			case <-look.C:
				waiting = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// stream follows one daemon.
type stream struct {
	cfg    Config
	owner  string
	hidden func(id string, at time.Time) bool
	news   chan<- Event
}

func (s stream) run(ctx context.Context) {
	pause := redialFirst
	for ctx.Err() == nil {
		if connected := s.follow(ctx); connected {
			s.tell(ctx, Event{Owner: s.owner, Resync: true}) // it broke
			pause = redialFirst
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		pause = min(2*pause, redialMost)
	}
}

// follow tells the events of one connection, and whether there was one.
func (s stream) follow(ctx context.Context) (connected bool) {
	cli, err := connect(s.cfg.paths(s.owner))
	if err != nil {
		return false
	}
	defer cli.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	since := stamp(time.Now())
	if _, err := cli.Ping(ctx); err != nil {
		return false
	}
	args := filters.NewArgs(filters.Arg("type", "container"), filters.Arg("label", labelCluster+"="+s.cfg.Cluster), filters.Arg("label", labelID))
	for _, action := range []string{"create", "start", "die", "destroy"} {
		args.Add("event", action)
	}
	messages, lost := cli.Events(ctx, events.ListOptions{Since: since, Filters: args})
	select {
	case <-lost:
		return false
	default:
	}
	s.tell(ctx, Event{Owner: s.owner, Resync: true})
	for {
		select {
		case m := <-messages:
			if e, ok := s.event(m); ok {
				s.tell(ctx, e)
			}
		case <-lost:
			return true
		}
	}
}

func (s stream) tell(ctx context.Context, e Event) {
	select {
	case s.news <- e:
	case <-ctx.Done():
	}
}

// event translates Docker's word.
func (s stream) event(m events.Message) (Event, bool) {
	found, ours := s.cfg.copyFrom(m.Actor.Attributes)
	if !ours {
		return Event{}, false
	}
	switch m.Action {
	case events.ActionCreate:
		found.State = placement.CopyCreated
	case events.ActionStart:
		found.State = placement.CopyRunning
	case events.ActionDie:
		if s.hidden(m.Actor.ID, time.Unix(0, m.TimeNano)) {
			return Event{}, false
		}
		found.State = placement.CopyExited
		found.Exit, _ = strconv.Atoi(m.Actor.Attributes["exitCode"])
	case events.ActionDestroy:
		found.State = placement.CopyGone
	default:
		return Event{}, false
	}
	return Event{Owner: s.owner, Copy: found}, true
}
