package dockerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"longshore/internal/placement"
)

// state is where a daemon is in its life; the package comment draws it.
type state string

const (
	absent   state = "absent"
	starting state = "starting"
	ready    state = "ready"
	degraded state = "degraded"
	stopping state = "stopping"
)

const (
	lookLongEvery = 5 * time.Second
	pingLimit     = 5 * time.Second
	hungAfter     = 4                // unanswered pings in a row
	answerIn      = 20 * time.Second // from launch to the first answer
)

// daemon is one owner's daemon. Its goroutine alone changes it.
type daemon struct {
	h     *Host
	owner string
	paths paths
	log   *slog.Logger

	started bool          // guarded by Host.mu
	kick    chan struct{} // look now
	starts  chan struct{} // a slot for each container that is being started

	mu      sync.Mutex
	state   state
	err     error         // of the last attempt
	failed  int           // attempts that failed, ever
	changed chan struct{} // closed at each change of the above
	conn    *conn         // nil unless ready

	sick atomic.Bool // something small is to be repaired at the next look
}

// conn is a daemon that is ready.
type conn struct {
	*client.Client
	pid    int
	net    UserNet
	starts chan struct{}

	// Guarded by daemon.mu: the shared net container, and the addresses of
	// net containers of single placements.
	netID string
	own   map[placement.ID]netip.Addr

	died <-chan events.Message // of net containers
	lost <-chan error
	stop context.CancelFunc // of the event stream
}

func (c *conn) end() {
	c.stop()
	_ = c.Close() // it always says nil
}

func newDaemon(h *Host, owner string) *daemon {
	return &daemon{
		h: h, owner: owner, paths: h.cfg.paths(owner), log: h.cfg.log().With("owner", owner),
		kick: make(chan struct{}, 1), starts: make(chan struct{}, startLimit()),
		state: absent, changed: make(chan struct{}),
	}
}

// run moves the daemon through its states until ctx ends.
func (d *daemon) run(ctx context.Context) {
	defer d.set(absent, nil, nil)
	for n := 0; ctx.Err() == nil; n++ {
		d.set(starting, nil, nil)
		began := time.Now()
		c, unlock, err := d.bringUp(ctx)
		if err == nil {
			d.log.Info("daemon is ready", "pid", c.pid, "took", time.Since(began).Round(time.Millisecond))
			n = 0
			err = d.supervise(ctx, c)
			c.end()
		}
		unlock()
		if ctx.Err() != nil {
			break
		}
		d.log.Warn("daemon is not ready", "err", err)
		d.set(degraded, nil, fmt.Errorf("daemon of %s: %w", d.owner, err))
		pause := time.NewTimer(Backoff(n, d.h.jitter()))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	d.set(stopping, nil, nil)
}

// set publishes a state. err counts as a failed attempt.
func (d *daemon) set(s state, c *conn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.conn = s, c
	if err != nil {
		d.err = err
		d.failed++
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// wait returns the connection once the daemon is ready, or the error of an
// attempt that fails after the call.
func (d *daemon) wait(ctx context.Context) (*conn, error) {
	first := -1
	for {
		d.mu.Lock()
		c, failed, err, changed := d.conn, d.failed, d.err, d.changed
		d.mu.Unlock()
		if first < 0 {
			first = failed
		}
		switch {
		case c != nil && alive(c.pid, d.paths.exec):
			return c, nil
		case c != nil: // nobody has noticed yet; what follows is a loss, not a failed attempt
			first = failed + 1
			d.look()
		case failed > first:
			return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%s): %w", ErrNoDaemon, d.owner, context.Cause(ctx))
		}
	}
}

func (d *daemon) look() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// supervise returns with the reason when the daemon is no longer ready. Net
// containers that die are repaired on the way.
func (d *daemon) supervise(ctx context.Context, c *conn) error {
	d.set(ready, c, nil)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	long := time.NewTimer(time.Duration((0.5 + d.h.jitter()) * float64(lookLongEvery)))
	defer long.Stop()
	var seen symptoms
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-c.died:
			err = d.repair(ctx, c, e.Actor)
		case err = <-c.lost:
			err = fmt.Errorf("event stream broke: %w", err)
		case <-look.C:
		case <-d.kick:
		case <-long.C:
			long.Reset(lookLongEvery)
			err = d.lookLong(ctx, c, &seen)
		}
		if err != nil {
			return err
		}
		if !alive(c.pid, d.paths.exec) {
			return errors.New("dockerd is gone")
		}
	}
}

// symptoms are what must be seen several times in a row before it counts.
type symptoms struct{ silent, bare int }

// lookLong is the look that costs calls.
func (d *daemon) lookLong(ctx context.Context, c *conn, seen *symptoms) error {
	if err := d.ping(ctx, c); err != nil {
		if seen.silent++; seen.silent >= hungAfter {
			return errors.Join(err, d.h.manager.Stop(ctx, d.unit(c.net)))
		}
		return nil
	}
	seen.silent = 0
	d.lookAtBridge(ctx, c, &seen.bare)
	if d.sick.Swap(false) {
		if err := d.ensureNets(ctx, c, false); err != nil {
			return fmt.Errorf("repair net containers: %w", err)
		}
	}
	return nil
}

// repair starts net containers again. Nobody is told that the daemon is ready
// while the shared one is down.
func (d *daemon) repair(ctx context.Context, c *conn, dead events.Actor) error {
	if dead.Attributes[labelNet] == netShared {
		d.log.Warn("net container died")
		d.set(starting, nil, nil)
		defer d.set(ready, c, nil)
	}
	err := settle(ctx, c, dead.ID)
	if err == nil {
		err = d.ensureNets(ctx, c, false)
	}
	if err != nil {
		return fmt.Errorf("repair net containers: %w", err)
	}
	// One that was starting meanwhile may have joined the dead namespace: look
	// once more a little later.
	d.sick.Store(true)
	return nil
}

// sharedNet is the id of the shared net container.
func (d *daemon) sharedNet(c *conn) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return c.netID
}

func (d *daemon) ping(ctx context.Context, c *conn) error {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	if _, err := c.Ping(ctx); err != nil {
		return fmt.Errorf("dockerd does not answer: %w", err)
	}
	return nil
}

// listen begins the stream of deaths of net containers.
func (c *conn) listen(ctx context.Context) {
	stream, stop := context.WithCancel(ctx)
	c.stop = stop
	c.died, c.lost = c.Events(stream, events.ListOptions{
		Since:   stamp(time.Now()),
		Filters: filters.NewArgs(filters.Arg("type", "container"), filters.Arg("event", "die"), filters.Arg("label", labelNet)),
	})
}

// stamp is a time as Docker's since: events after it are replayed, which
// covers the moment between the answer of dockerd and its subscription.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
