package dockerd

import (
	"context"
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
	return o.watch(ctx, f, nil)
}

// watch leaves out the deaths that were repairs, and tells a Resync when one
// failed.
func (o *Observer) watch(ctx context.Context, f func(Event), repairs *repairs) error {
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
	known := map[string]uint64{} // owner -> failed repairs that were told
	for {
		owners, err := o.cfg.owners()
		if err != nil {
			o.cfg.log().Warn("daemons are not looked for", "err", err)
		}
		for _, owner := range owners {
			told, old := known[owner]
			failed := repairs.failures(owner)
			known[owner] = failed
			switch {
			case !old:
				s := stream{cfg: o.cfg, owner: owner, repairs: repairs, news: news}
				streams.Go(func() { s.run(ctx) })
			case failed != told:
				f(Event{Owner: owner, Resync: true})
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
	cfg     Config
	owner   string
	repairs *repairs
	news    chan<- Event
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
	defer func() { _ = cli.Close() }() // it always says nil
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
	log := s.cfg.log().With("owner", s.owner)
	select {
	case err := <-lost:
		log.Debug("no event stream", "err", err)
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
		case err := <-lost:
			log.Debug("event stream broke", "err", err)
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
		if s.repairs.covers(m.Actor.ID, time.Unix(0, m.TimeNano)) {
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
