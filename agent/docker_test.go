package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// fakeDocker is every daemon of a node: it remembers containers and tells of
// what happens to them. A hook, by the step's name, runs before the step and
// may fail it or hold it up.
type fakeDocker struct {
	log    *journal
	events chan dockerd.Event

	mu        sync.Mutex
	here      map[placement.ID]*fakeCopy
	hooks     map[string]func(context.Context) error
	broken    map[string]bool // owners whose daemon cannot be listed
	strangers []dockerd.Stranger
	lists     int
}

type fakeCopy struct {
	placement.Copy
	request placement.Request
}

func (d *fakeDocker) hook(step string, f func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hooks[step] = f
}

func (d *fakeDocker) run(ctx context.Context, step string) error {
	d.mu.Lock()
	f := d.hooks[step]
	d.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

func (d *fakeDocker) Ensure(ctx context.Context, owner string) error {
	d.log.add("ensure", owner)
	return d.run(ctx, "ensure")
}

func (d *fakeDocker) Pull(ctx context.Context, owner, image string, progress func(done, total int64)) error {
	d.log.add("pull", image)
	progress(12e6, 80e6)
	return d.run(ctx, "pull "+image)
}

func (d *fakeDocker) Create(ctx context.Context, s dockerd.Spec) error {
	d.log.add("create", string(s.ID))
	err := d.run(ctx, "create")
	if err != nil && !strings.Contains(err.Error(), "unknown") {
		return err
	}
	d.mu.Lock()
	if c := d.here[s.ID]; c != nil {
		d.mu.Unlock()
		return &dockerd.ExistsError{ID: s.ID, Epoch: c.Epoch, State: c.State}
	}
	c := &fakeCopy{request: s.Request, Copy: placement.Copy{ID: s.ID, Epoch: s.Epoch, Gen: s.Gen, Digest: s.Request.Digest(), State: placement.CopyCreated, Needs: s.Needs}}
	d.here[s.ID] = c
	d.mu.Unlock()
	d.tell(c.Copy)
	return err
}

func (d *fakeDocker) Start(ctx context.Context, owner string, id placement.ID) error {
	d.log.add("start", string(id))
	if err := d.run(ctx, "start"); err != nil {
		return err
	}
	return d.set(id, placement.CopyRunning, 0)
}

// set changes what a container does, as if by itself.
func (d *fakeDocker) set(id placement.ID, s placement.CopyState, exit int) error {
	d.mu.Lock()
	c := d.here[id]
	if c == nil {
		d.mu.Unlock()
		return fmt.Errorf("no such container: %s: %w", id, dockerd.ErrRefused)
	}
	c.State, c.Exit = s, exit
	told := c.Copy
	d.mu.Unlock()
	d.tell(told)
	return nil
}

func (d *fakeDocker) Remove(ctx context.Context, owner string, id placement.ID, e placement.Epoch, grace time.Duration) error {
	d.log.add("remove", string(id))
	if err := d.run(ctx, "remove"); err != nil {
		return err
	}
	d.mu.Lock()
	c := d.here[id]
	runs := grace == 0 && c != nil && c.Epoch == e && c.State == placement.CopyRunning
	d.mu.Unlock()
	if runs {
		return dockerd.ErrRunning
	}
	d.vanish(id, e)
	return nil
}

// vanish takes a container away, as if by hand.
func (d *fakeDocker) vanish(id placement.ID, e placement.Epoch) {
	d.mu.Lock()
	c := d.here[id]
	if c == nil || c.Epoch != e {
		d.mu.Unlock()
		return
	}
	delete(d.here, id)
	told := c.Copy
	d.mu.Unlock()
	told.State = placement.CopyGone
	d.tell(told)
}

func (d *fakeDocker) tell(c placement.Copy) {
	select {
	case d.events <- dockerd.Event{Owner: c.ID.Owner(), Copy: c}:
	default: // nobody listens
	}
}

// List knows the daemon of every owner that is named here.
func (d *fakeDocker) List(ctx context.Context) (dockerd.Listing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lists++
	l := dockerd.Listing{Strangers: slices.Clone(d.strangers)}
	for _, owner := range []string{"alice", "bob"} {
		l.Daemons = append(l.Daemons, placement.DaemonListing{Owner: owner, OK: !d.broken[owner]})
	}
	for _, c := range d.here {
		if !d.broken[c.ID.Owner()] {
			l.Copies = append(l.Copies, c.Copy)
		}
	}
	return l, nil
}

func (d *fakeDocker) Watch(ctx context.Context, f func(dockerd.Event)) error {
	f(dockerd.Event{Resync: true})
	for {
		select {
		case e := <-d.events:
			f(e)
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *fakeDocker) state(id placement.ID) placement.CopyState {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.here[id]; c != nil {
		return c.State
	}
	return ""
}

func (d *fakeDocker) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.here)
}

// put puts a container there, as an earlier run of the agent left it.
func (d *fakeDocker) put(id placement.ID, s placement.CopyState, r placement.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.here[id] = &fakeCopy{request: r, Copy: placement.Copy{ID: id, Epoch: epoch(1), Gen: 1, Digest: r.Digest(), State: s, Needs: r.Needs}}
}
