package sim

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// host is a machine. Its fields but slow are the deliveries'.
type host struct {
	name string
	slow atomic.Int64 // nanoseconds that its packets take besides, at most
	down bool         // without power: nothing of it does anything
}

// process is one run of one of our programs. Its fields are the deliveries',
// apart from those that never change and the atomic one.
type process struct {
	w      *world
	host   *host
	name   string          // "n7/agentd.3"
	ctx    context.Context //nolint:containedctx // a process is a context that lives
	cancel context.CancelFunc
	dead   atomic.Bool
	gone   chan struct{} // closed when it is killed
	ended  chan struct{} // closed when its main has returned

	paused  bool     // stopped by a signal: nothing goes in or out
	backlog []func() // what went out or came in meanwhile
	dialled int
}

var errKilled = errors.New("this process was killed")

// spawn begins a process whose main is run.
func (w *world) spawn(h *host, what string, run func(p *process) error) *process {
	w.spawned[h.name+"/"+what]++
	p := &process{
		w: w, host: h, name: h.name + "/" + what + "." + strconv.Itoa(w.spawned[h.name+"/"+what]),
		gone: make(chan struct{}), ended: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(w.ctx)
	w.tell("%s starts", p.name)
	go func() {
		defer close(p.ended)
		if err := run(p); err != nil && !p.dead.Load() && p.ctx.Err() == nil {
			w.e.after(1, fnv(p.name), func() { w.tell("%s ended: %v", p.name, err) })
		}
	}()
	return p
}

// dice is a source of randomness for one part of the process alone.
func (p *process) dice(part string) *rand.Rand {
	return rand.New(rand.NewPCG(p.w.cfg.Seed, fnv(p.name+"/"+part)))
}

// sleep lets d pass, or less if the process ends.
func (p *process) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// held tells whether what reaches or leaves the process has to wait.
func (p *process) held() bool { return p.paused || p.host.down }

// over tells whether the process has ended, for whatever reason.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return p.dead.Load()
	}
}

// lives tells whether the process is there; again is called later if it is
// about to end.
func (p *process) lives(again func()) bool {
	if p == nil || p.over() {
		return false
	}
	if p.ctx.Err() != nil {
		p.w.e.after(100*time.Millisecond, fnv(p.name), again)
	}
	return true
}

// kill ends the process at once, as SIGKILL does. It must have no effect any
// more; its kernel tells the peers, unless it has no power.
func (p *process) kill() {
	if p == nil || p.dead.Load() {
		return
	}
	p.w.tell("%s is killed", p.name)
	p.dead.Store(true)
	p.paused, p.backlog = false, nil
	close(p.gone)
	p.cancel()
	n := p.w.net
	if n.listener != nil && n.listener.proc == p {
		n.listener.Close()
	}
	for _, near := range append([]*conn(nil), n.conns...) {
		for _, c := range []*conn{near, near.other} {
			if c.proc == p {
				c.abandon()
			}
		}
	}
}

// abandon is what the kernel does with a dead process's end.
func (c *conn) abandon() {
	c.mu.Lock()
	c.closed, c.in = true, nil
	poke(c.ready)
	c.mu.Unlock()
	if !c.proc.host.down {
		c.net.e.after(c.net.delay(c), fnv(c.name)+1, func() { c.hangUp(io.EOF) })
	}
}

// pause stops the process as SIGSTOP does, or lets it go on. Its timers run on
// meanwhile: what they lead to is done when it goes on.
func (p *process) pause(on bool) {
	if p.dead.Load() || p.paused == on {
		return
	}
	p.paused = on
	p.w.tell("%s is %s", p.name, map[bool]string{true: "stopped (SIGSTOP)", false: "continued"}[on])
	if on {
		return
	}
	for i, do := range p.backlog {
		p.w.e.after(time.Duration(i+1)*10*time.Microsecond, fnv(p.name), do)
	}
	p.backlog = nil
	p.w.net.resume()
}

// act does something in the outside world at once; false if the process is
// dead.
func (p *process) act(what string, do func()) bool {
	done := make(chan struct{})
	p.w.e.after(1, p.w.e.random(p.name, what), func() {
		if !p.dead.Load() {
			do()
		}
		close(done)
	})
	select {
	case <-done:
		return !p.dead.Load()
	case <-p.gone:
		return false
	}
}

// call has the outside world do something for the process: do is a delivery
// that comes after a while and answers by done, then or later. When ctx ends
// first, the outcome is unknown: it may still be done. So it may when the
// process is killed.
func call[T any](ctx context.Context, p *process, after time.Duration, what string, do func(done func(T, error))) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if p.dead.Load() {
		return none, errKilled
	}
	e := p.w.e
	got := make(chan answer, 1)
	var begin func()
	begin = func() {
		switch {
		case p.dead.Load() && e.chance(0.5, p.name, what, "late"), p.host.down:
			return
		case p.paused:
			p.backlog = append(p.backlog, begin)
			return
		}
		do(func(v T, err error) {
			var end func()
			end = func() {
				if p.paused {
					p.backlog = append(p.backlog, end)
					return
				}
				select {
				case got <- answer{v, err}:
				default:
				}
			}
			end()
		})
	}
	e.after(after, e.random(p.name, what), begin)
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-p.gone:
		return none, errKilled
	}
}
