package rpc

import (
	"context"
	"fmt"
	"iter"

	"github.com/vmihailenco/msgpack/v5"
)

// Answer is what one link of [CallEach] answered.
type Answer struct {
	c     *outgoing
	event event
	made  bool               // through middleware: raw instead of event
	raw   msgpack.RawMessage // nil: nil
	err   error
}

// Decode stores the result in into, unless that is nil. The errors are those
// of [Link.Call].
func (a *Answer) Decode(into any) error {
	switch {
	case a.err != nil:
		return a.err
	case !a.made:
		return a.c.result(a.event, into)
	case a.raw == nil:
		return a.c.link.svc.plans.unmarshal([]byte{codeNil}, into)
	}
	return a.c.link.svc.plans.unmarshal(a.raw, into)
}

// CallEach calls the method of the other end of all links at once, and yields
// the place in links and the answer of each as it comes. Every link has its
// turn, unless the loop is left: then the calls that have not been answered
// are cancelled, as they are when ctx ends. The arguments are encoded once for
// all, except for links with middleware. Each link must be there once.
func CallEach(ctx context.Context, links []*Link, method string, args ...any) iter.Seq2[int, *Answer] {
	return func(yield func(int, *Answer) bool) {
		if len(links) == 0 {
			return
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		g := &group{ctx: ctx, method: method, args: args, calls: make([]outgoing, len(links)), answers: make([]Answer, len(links)), ready: make(chan int, len(links))}
		g.send(links)
		defer g.cancel(ErrClosed)
		ended := ctx.Done()
		for range links {
			var i int
			select {
			case i = <-g.ready:
			case <-ended:
				ended = nil
				g.cancel(ctxError(ctx))
				i = <-g.ready
			}
			if !yield(i, g.take(i)) {
				return
			}
		}
	}
}

// group is the calls of one CallEach.
type group struct {
	ctx     context.Context //nolint:containedctx // it lives as long as the loop that was given it
	method  string
	args    []any
	calls   []outgoing
	answers []Answer
	ready   chan int // who has an answer
}

// send makes all calls; one that could not be sent is answered at once.
func (g *group) send(links []*Link) {
	pool := &links[0].svc.pool
	e := pool.get()
	defer pool.put(e)
	id := randomID()
	failure := e.call(g.ctx, id, g.method, g.args, nil)
	text := string(id[:])
	for i, l := range links {
		c := &g.calls[i]
		*c = outgoing{link: l, id: text, method: g.method, group: g.ready, index: i}
		g.answers[i].c = c
		if l.svc.invoker != nil {
			c.group = nil
			go g.through(i, l)
			continue
		}
		err := failure
		if err == nil {
			err = c.open(e)
		}
		if err != nil {
			g.fail(c, err)
		}
	}
}

// fail answers a call that was not sent. One that was lost while it was sent
// has been told of already.
func (g *group) fail(c *outgoing, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.err == nil {
		c.ended, c.err = true, err
	}
	c.signal()
}

// through makes one call by way of the link's middleware.
func (g *group) through(i int, l *Link) {
	a := &g.answers[i]
	a.made = true
	a.err = l.Call(g.ctx, g.method, &a.raw, g.args...)
	g.ready <- i
}

// take is the answer that is ready.
func (g *group) take(i int) *Answer {
	a := &g.answers[i]
	if a.made {
		return a
	}
	e, _, err := a.c.take()
	if err != nil {
		a.err = fmt.Errorf("call %s: %w", g.method, err)
	}
	a.event = e
	a.c.abandon(ErrClosed, true) // of no effect, unless it streams
	return a
}

// cancel ends the calls that have not been answered.
func (g *group) cancel(why error) {
	for i := range g.calls {
		c := &g.calls[i]
		c.link.mu.Lock()
		open := c.group != nil && !c.told
		c.link.mu.Unlock()
		if open {
			c.abandon(why, true)
		}
	}
}
