package dockerd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

func TestSlowPullHoldsUpNothing(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	slow, quick := m.image(t, "aliceslow/big", 200<<10), m.image(t, "alice/hello", 0)
	n.ok(n.host.Pull(n.ctx(), "alice", quick, nil))

	first, stopFirst := context.WithCancel(n.ctx())
	second, stopSecond := context.WithCancel(n.ctx())
	defer stopFirst()
	defer stopSecond()
	ended := make(chan error, 2)
	for _, ctx := range []context.Context{first, second} {
		go func() { ended <- n.host.Pull(ctx, "alice", slow, func(int64, int64) {}) }()
	}
	n.eventually("the layer is on its way", func() bool { return m.gets.Load() > 0 })
	for _, service := range []string{"a", "b", "c"} {
		began := time.Now()
		n.launch(n.spec(id("alice", service), quick, "deaf"))
		t.Log("launched beside the slow pull in", time.Since(began))
	}
	n.ok(n.host.Pull(n.ctx(), "alice", m.image(t, "alice/other", 1000), nil))

	stopFirst() // the other goes on
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	select {
	case err := <-ended:
		t.Errorf("the pull ended with the first of its callers: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if got := m.gets.Load(); got != 1 {
		t.Errorf("the layer was asked for %d times", got)
	}
	stopSecond()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestPullOfNothing(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	absent := "alice/none@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	if err := n.host.Pull(n.ctx(), "alice", absent, nil); !errors.Is(err, dockerd.ErrRefused) {
		t.Errorf("pull: %v", err)
	}
	if err := n.host.Create(n.ctx(), n.spec(id("alice", "web"), absent)); !errors.Is(err, dockerd.ErrRefused) {
		t.Errorf("create without the image: %v", err)
	}
	if err := n.host.Create(n.ctx(), withOwnNet(n.spec(id("alice", "web"), absent))); !errors.Is(err, dockerd.ErrRefused) {
		t.Errorf("create without the image: %v", err)
	}
	if copies, _ := n.list(); len(copies) != 0 {
		t.Errorf("left: %v", copies)
	}
}

func TestReference(t *testing.T) {
	const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	h := dockerd.New(dockerd.Config{Mirror: "127.0.0.1:5000"}, nil)
	for _, c := range []struct{ image, want string }{
		{"alice/shop" + digest, "127.0.0.1:5000/alice/shop" + digest},
		{"alice/a/b" + digest, "127.0.0.1:5000/alice/a/b" + digest},
		{"docker.io/library/redis" + digest, "docker.io/library/redis" + digest},
		{"localhost/x" + digest, "localhost/x" + digest},
		{"10.0.0.1:99/x" + digest, "10.0.0.1:99/x" + digest},
		{"alice/shop:latest", ""},
		{"redis" + digest, ""},
		{"", ""},
		{"alice/" + digest, ""},
	} {
		got, err := h.Reference(c.image)
		var bad *placement.Error
		if got != c.want || (err != nil) != (c.want == "") || (err != nil && !errors.As(err, &bad)) {
			t.Errorf("%q is %q (%v), want %q", c.image, got, err, c.want)
		}
	}
}
