package sim

import (
	"errors"
	"maps"
	"slices"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// docker is the users' daemons of one node. It is the deliveries'.
type docker struct {
	w       *world
	node    *node
	daemons map[string]*daemon
	subs    []*subscription

	// Faults.
	failing float64       // of calls that change something: refused, lost, or lost and done
	slow    time.Duration // that calls take besides, at most
	blind   bool          // nothing can be listed
	noPull  bool          // nothing can be pulled
}

// daemon is one owner's.
type daemon struct {
	owner  string
	up     bool
	mute   bool // it does not answer, though it lives
	root   string
	copies map[placement.ID]*container
	images map[string]bool
}

// container is one copy.
type container struct {
	placement.Copy
	request placement.Request
	starts  int
}

var errDaemonDown = errors.New("cannot connect to the Docker daemon")

func (d *docker) daemon(owner string) *daemon {
	return d.daemons[owner]
}

// ensure makes the owner's daemon.
func (d *docker) ensure(owner string) *daemon {
	if d.daemons[owner] == nil {
		d.daemons[owner] = &daemon{owner: owner, up: true, root: string(d.node.id) + "/" + owner, copies: map[placement.ID]*container{}, images: map[string]bool{}}
	}
	return d.daemons[owner]
}

// owners are those with a daemon, by name.
func (d *docker) owners() []string { return slices.Sorted(maps.Keys(d.daemons)) }

// all are the containers of the node, by owner and ID.
func (d *docker) all() []*container {
	var list []*container
	for _, owner := range d.owners() {
		m := d.daemons[owner].copies
		for _, id := range slices.Sorted(maps.Keys(m)) {
			list = append(list, m[id])
		}
	}
	return list
}

// listing is what a look at the daemons shows now.
func (d *docker) listing() dockerd.Listing {
	var l dockerd.Listing
	for _, owner := range d.owners() {
		m := d.daemons[owner]
		state := placement.DaemonListing{Owner: owner, OK: m.up && !m.mute && !d.blind, Root: m.root}
		if !state.OK {
			state.Root, state.Err = "", errDaemonDown.Error()
			l.Daemons = append(l.Daemons, state)
			continue
		}
		l.Daemons = append(l.Daemons, state)
		for _, id := range slices.Sorted(maps.Keys(m.copies)) {
			l.Copies = append(l.Copies, m.copies[id].Copy)
		}
	}
	slices.SortFunc(l.Copies, func(a, b placement.Copy) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return l
}

// create makes a container.
func (d *docker) create(s dockerd.Spec) error {
	m := d.daemon(s.ID.Owner())
	if m == nil || !m.up || m.mute {
		return errors.Join(dockerd.ErrUnknown, errDaemonDown)
	}
	if c := m.copies[s.ID]; c != nil {
		return &dockerd.ExistsError{ID: s.ID, Epoch: c.Epoch, State: c.State}
	}
	c := &container{request: s.Request, Copy: placement.Copy{
		ID: s.ID, Epoch: s.Epoch, Gen: s.Gen, Digest: s.Request.Digest(), State: placement.CopyCreated, Needs: s.Needs,
	}}
	m.copies[s.ID] = c
	d.w.judge.created(d.node, c)
	d.changed(c, placement.CopyCreated)
	return nil
}

// start starts a container.
func (d *docker) start(id placement.ID) error {
	m := d.daemon(id.Owner())
	switch {
	case m == nil || !m.up || m.mute:
		return errors.Join(dockerd.ErrUnknown, errDaemonDown)
	case m.copies[id] == nil:
		return errors.Join(dockerd.ErrRefused, errors.New("no such container"))
	case m.copies[id].State == placement.CopyRunning:
		return nil
	}
	c := m.copies[id]
	c.starts++
	c.Exit = 0
	d.w.judge.started(d.node, c)
	d.changed(c, placement.CopyRunning)
	d.w.live(d, c)
	return nil
}

// exit ends a container that runs.
func (d *docker) exit(c *container, code int) {
	if c.State != placement.CopyRunning {
		return
	}
	c.Exit = code
	d.changed(c, placement.CopyExited)
}

// remove takes a container away.
func (d *docker) remove(c *container) {
	m := d.daemon(c.ID.Owner())
	if m.copies[c.ID] != c {
		return
	}
	delete(m.copies, c.ID)
	d.changed(c, placement.CopyGone)
}

// changed notes and tells what a container does now.
func (d *docker) changed(c *container, s placement.CopyState) {
	c.State = s
	d.w.e.note("docker "+string(d.node.id), []byte(c.ID), []byte(c.Epoch), []byte(s))
	d.w.story(c.ID, "%s: copy %s %s", d.node.id, short(c.Epoch), s)
	d.w.judge.moved(d.node, c)
	if m := d.daemon(c.ID.Owner()); m.up {
		d.tell(dockerd.Event{Owner: c.ID.Owner(), Copy: c.Copy})
	}
}

// die ends an owner's daemon and all that runs in it.
func (d *docker) die(owner string) {
	m := d.daemon(owner)
	if m == nil || !m.up {
		return
	}
	m.up = false
	for _, id := range slices.Sorted(maps.Keys(m.copies)) {
		d.exit(m.copies[id], 137)
	}
}

// revive starts an owner's daemon again; nothing runs in it.
func (d *docker) revive(owner string) {
	if m := d.daemon(owner); m != nil && !m.up {
		m.up = true
		d.resync(owner)
	}
}

// resync says that events of the owner's daemon may have been missed.
func (d *docker) resync(owner string) { d.tell(dockerd.Event{Owner: owner, Resync: true}) }

// tell sends an event to all who watch.
func (d *docker) tell(ev dockerd.Event) {
	d.subs = slices.DeleteFunc(d.subs, func(s *subscription) bool { return s.over })
	for _, s := range d.subs {
		s.send(ev)
	}
}
