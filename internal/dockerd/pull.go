package dockerd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"

	"longshore/internal/placement"
)

const pullPatience = 10 * time.Minute // without any progress

var errStalled = fmt.Errorf("no progress for %s", pullPatience)

// reference is an image of a request as the daemons know it: those of the
// cluster's registry come through this node's mirror.
func (h *Host) reference(image string) (string, error) {
	invalid := func(why string) error {
		return &placement.Error{
			Kind: placement.KindInvalid, What: fmt.Sprintf("%q names no image", image), Why: why,
			Next: "name it OWNER/NAME@sha256:... or HOST/NAME@sha256:...",
		}
	}
	first, _, ok := strings.Cut(image, "/")
	if !ok {
		return "", invalid("it has neither an owner nor a registry")
	}
	ref := image
	if !strings.ContainsAny(first, ".:") && first != "localhost" {
		ref = h.cfg.Mirror + "/" + image
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", invalid(err.Error())
	}
	if _, ok := named.(reference.Digested); !ok {
		return "", invalid("it has no digest, so that it could mean another image tomorrow")
	}
	return named.String(), nil
}

// Pull makes the image be there. Pulls of one image by one owner at the same
// time are one; progress is called in the caller's goroutine with the newest
// figures, bytes of all layers known so far. A pull goes on while one of its callers waits. It fails if it makes no
// progress for 10 minutes.
func (h *Host) Pull(ctx context.Context, owner, image string, progress func(done, total int64)) error {
	ref, err := h.reference(image)
	if err != nil {
		return err
	}
	c, err := h.ready(ctx, owner)
	if err != nil {
		return err
	}
	if _, err := c.ImageInspect(ctx, ref); err == nil || !errdefs.IsNotFound(err) {
		return classify("pull "+image, err)
	}
	return h.pulls.join(ctx, owner+" "+ref, progress, func(ctx context.Context, tell func(done, total int64)) error {
		return classify("pull "+image, pull(ctx, c, ref, tell))
	})
}

func pull(ctx context.Context, c *conn, ref string, tell func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(pullPatience, func() { cancel(errStalled) })
	defer watchdog.Stop()
	err := pullStream(ctx, c, ref, func(done, total int64) {
		watchdog.Reset(pullPatience)
		tell(done, total)
	})
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// pullStream calls tell at each sign of progress.
func pullStream(ctx context.Context, c *conn, ref string, tell func(done, total int64)) error {
	body, err := c.ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		return err
	}
	defer body.Close()
	layers := map[string][2]int64{}
	return readStream(body, func(m streamed) {
		switch layer := layers[m.ID]; m.Status {
		case "Downloading":
			layers[m.ID] = [2]int64{m.Progress.Current, m.Progress.Total}
		case "Download complete", "Verifying Checksum", "Extracting", "Pull complete":
			layers[m.ID] = [2]int64{layer[1], layer[1]}
		}
		var done, total int64
		for _, l := range layers {
			done, total = done+l[0], total+l[1]
		}
		tell(done, total)
	})
}

// pulls are the pulls that go on, by owner and image.
type pulls struct {
	mu sync.Mutex
	on map[string]*shared
}

// shared is one piece of work that several callers wait for.
type shared struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when err is set
	err     error
	waiters map[chan [2]int64]bool // guarded by pulls.mu; each holds the newest news only
}

type pullWork func(ctx context.Context, tell func(done, total int64)) error

// join waits for the work named key, begun by whoever comes first. The last
// caller to give up cancels it, and waits for its end.
func (p *pulls) join(ctx context.Context, key string, progress func(done, total int64), work pullWork) error {
	news := make(chan [2]int64, 1)
	p.mu.Lock()
	s := p.on[key]
	if s == nil {
		s = p.begin(ctx, key, work)
	}
	s.waiters[news] = true
	p.mu.Unlock()
	for {
		select {
		case n := <-news:
			if progress != nil {
				progress(n[0], n[1])
			}
		case <-s.done:
			return s.err
		case <-ctx.Done():
			p.leave(key, s, news)
			return context.Cause(ctx)
		}
	}
}

func (p *pulls) leave(key string, s *shared, news chan [2]int64) {
	p.mu.Lock()
	delete(s.waiters, news)
	last := len(s.waiters) == 0
	if last && p.on[key] == s {
		delete(p.on, key) // whoever comes now begins anew
	}
	p.mu.Unlock()
	if last {
		s.cancel()
		<-s.done
	}
}

// begin is called with p.mu held.
func (p *pulls) begin(ctx context.Context, key string, work pullWork) *shared {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it is not the first caller's alone
	s := &shared{cancel: cancel, done: make(chan struct{}), waiters: map[chan [2]int64]bool{}}
	if p.on == nil {
		p.on = map[string]*shared{}
	}
	p.on[key] = s
	go func() {
		defer close(s.done)
		defer cancel()
		s.err = work(ctx, func(done, total int64) { p.tell(s, done, total) })
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.on[key] == s {
			delete(p.on, key)
		}
	}()
	return s
}

// tell is called from one goroutine at a time.
func (p *pulls) tell(s *shared, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for news := range s.waiters {
		select { // drop what was not read yet
		case <-news:
		default:
		}
		news <- [2]int64{done, total} // has room: nobody else sends
	}
}
