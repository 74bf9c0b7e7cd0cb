package sim

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// powerOff takes a node's power away: whatever was on its way stays there.
func (n *node) powerOff() {
	if n.host.down {
		return
	}
	n.host.down = true
	n.killAgent()
	n.hostinfod.kill()
	n.docker.subs = nil
	for _, o := range n.docker.owners() {
		n.docker.die(o)
	}
}

// powerOn boots a node: the tmpfs is empty, and its kernel knows nothing of
// its former connections.
func (n *node) powerOn() {
	if !n.host.down {
		return
	}
	n.host.down = false
	run := filepath.Join(n.dir, "real/run")
	files, _ := os.ReadDir(run) // it is there
	for _, f := range files {
		os.Remove(filepath.Join(run, f.Name()))
	}
	n.w.net.cut(func(c *conn) bool { return c.proc.host == n.host })
	e := n.w.e
	for _, o := range n.docker.owners() {
		e.after(e.between(time.Second, 5*time.Second, string(n.id), o), fnv(o), func() { n.docker.revive(o) })
	}
	e.after(e.between(2*time.Second, 8*time.Second, string(n.id), "agentd"), 1, n.startAgent)
	e.after(e.between(2*time.Second, 8*time.Second, string(n.id), "hostinfod"), 2, n.startHostinfo)
}

// partition stops the packets of a node, in or out.
func (w *world) partition(n *node, out, in bool) {
	if out {
		w.net.partition(n.host, w.serverHost, true)
	}
	if in {
		w.net.partition(w.serverHost, n.host, true)
	}
}

// rejoin lets the packets of a node through again. Half of its connections
// were given up by a kernel meanwhile.
func (w *world) rejoin(n *node) {
	w.net.cut(func(c *conn) bool { return c.proc.host == n.host && w.e.chance(0.5, c.name, "cut") })
	w.net.partition(n.host, w.serverHost, false)
	w.net.partition(w.serverHost, n.host, false)
}

// hideFiles makes all that agentd does with its files fail.
func (n *node) hideFiles(on bool) {
	from, to := filepath.Join(n.dir, "real"), filepath.Join(n.dir, "hidden")
	if !on {
		from, to = to, from
	}
	if err := os.Rename(from, to); err != nil {
		n.w.judge.say("the simulator cannot hide the files of %s: %v", n.id, err)
	}
}

// anOwner is one who has a daemon on the node.
func (n *node) anOwner() string {
	owners := n.docker.owners()
	if len(owners) == 0 {
		return ""
	}
	return owners[n.w.e.random(string(n.id), "owner")%uint64(len(owners))]
}

// setMute makes the owner's daemon not answer, and all others answer.
func (d *docker) setMute(owner string) {
	for _, o := range d.owners() {
		d.daemons[o].mute = o == owner
	}
}

// deafen breaks the event streams of the node, or mends them.
func (d *docker) deafen(on bool) {
	for _, s := range d.subs {
		s.deaf = on
	}
	if on {
		return
	}
	for _, o := range d.owners() {
		d.resync(o)
	}
}

// some does f to a few of the containers that run.
func (d *docker) some(most int, f func(c *container)) {
	all := slices.DeleteFunc(d.all(), func(c *container) bool { return c.State != "running" })
	for i := range most {
		if len(all) == 0 {
			return
		}
		at := d.w.e.random(string(d.node.id), "some", itoa(i)) % uint64(len(all))
		f(all[at])
		all = slices.Delete(all, int(at), int(at)+1)
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
