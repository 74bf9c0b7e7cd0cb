package dockerd_test

import (
	"testing"

	"github.com/docker/docker/api/types/container"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

func TestUsed(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	o := dockerd.Observe(n.cfg)
	if u, err := o.Used(n.ctx()); err != nil || u.Memory != 0 || len(u.Owners) != 0 {
		t.Errorf("nothing runs: %+v %v", u, err)
	}
	image := m.image(t, "alice/hello", 1<<20)
	n.launch(n.spec(id("alice", "eater"), image, "eat", "40"))
	n.ok(n.host.Ensure(n.ctx(), "bob"))
	const mib = 1 << 20
	n.eventually("the eater is measured", func() bool {
		u, err := o.Used(n.ctx())
		n.ok(err)
		var alice, bob dockerd.OwnerUsage
		for _, o := range u.Owners {
			if o.Owner == "alice" {
				alice = o
			} else {
				bob = o
			}
		}
		return alice.Memory > 40*mib && alice.Memory < 64*mib && bob.Memory < 20*mib &&
			alice.CPU > 0 && alice.Daemon > 5*mib && bob.Daemon > 5*mib &&
			u.Memory == alice.Memory+alice.Daemon+bob.Memory+bob.Daemon && u.CPU == alice.CPU+bob.CPU
	})
	n.ok(o.Disk(n.ctx()))
	if u, err := o.Used(n.ctx()); err != nil || u.Disk < 5*mib || u.Disk > 200*mib {
		t.Errorf("disk: %+v %v", u, err)
	}
}

func TestStrangersAreShown(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web, image := id("alice", "web"), m.image(t, "alice/hello", 0)
	n.launch(n.spec(web, image))
	ref, err := n.host.Reference(image)
	n.ok(err)
	_, err = n.docker("alice").ContainerCreate(n.ctx(), &container.Config{Image: ref}, nil, nil, nil, "by-hand")
	n.ok(err)
	l, err := n.host.List(n.ctx())
	n.ok(err)
	want := dockerd.Stranger{Owner: "alice", Name: "by-hand", Image: ref, State: placement.CopyCreated}
	if len(l.Strangers) != 1 || l.Strangers[0] != want || len(l.Copies) != 1 {
		t.Errorf("list: %+v", l)
	}
	// Another cluster's view of the same directories holds nothing.
	other := n.cfg
	other.Cluster = "other"
	if l, err := dockerd.Observe(other).List(n.ctx()); err != nil || len(l.Daemons)+len(l.Copies)+len(l.Strangers) != 0 {
		t.Errorf("another cluster: %+v %v", l, err)
	}
}
