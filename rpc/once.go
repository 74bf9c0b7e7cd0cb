package rpc

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// keyOnce is the header key of an idempotency key.
const keyOnce = "idempotency_key"

// maxKey is how long an idempotency key may be, in bytes.
const maxKey = 128

// WithIdempotencyKey has the calls made with the context carry an idempotency
// key, 1 to 128 bytes: a server that keeps such keys ([Once]) runs a method
// once for each of them, however often it is called. Streams carry none. The
// key is the caller's to choose; text that is drawn at random for each thing to
// be done is a good one.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, onceContext{}, key)
}

type onceContext struct{}

// OnceConfig bounds what a [Once] remembers. The zero value has the defaults.
type OnceConfig struct {
	Keep     time.Duration // from the end of a call until its key may be used anew; 0: 10 min
	MaxKeys  int           // remembered at a time; one caller may have half of them; 0: 50,000
	MaxBytes int           // of arguments of calls in progress and of results; 0: 64 MiB

	// Forget, if set, tells errors that prove that nothing was done: their key
	// is free at once, so that the same call may be tried again with it.
	Forget func(err error) bool
}

// Once is a middleware that makes a call with an idempotency key run once for
// each (caller, method, key). A second one gets the result, or the error, of
// the first, and waits for it if need be. The same key with other arguments is
// refused ("KeyConflict"). A result is kept for 10 min after the call; then the
// key runs anew. Calls without a key pass through.
//
// A call with a key belongs to whoever knows the key, not to one connection:
// it goes on when its caller goes away or runs out of time, who may ask for the
// result with the same key. So a method that takes keys bounds its own time.
//
// Where memory is short the oldest results go first, and their keys then answer
// "ResultGone": a call is rather not answered than run twice. With no room for
// another key a call with a key is refused ("Busy") and nothing is done. Keys
// end with the process, unless Keep gives them a store.
type Once struct {
	cfg OnceConfig
	wg  sync.WaitGroup

	store   OnceStore // nil: keys end with the process
	durable []string  // the methods whose calls it keeps

	mu     sync.Mutex
	closed bool
	runs   map[OnceID]*onceRun
	kept   *list.List     // of *onceRun that have ended, the oldest first
	drop   *list.Element  // the oldest of kept whose result is still there
	of     map[string]int // runs of each caller
	bytes  int
}

// onceRun is one call. What comes after done is set before done is closed, and
// guarded by the mutex from then on.
type onceRun struct {
	id     OnceID
	args   [sha256.Size]byte
	size   int  // bytes counted
	stored bool // in the store, too
	stop   context.CancelFunc

	done   chan struct{}
	result msgpack.RawMessage
	err    error
	at     time.Time // it ended
}

// NewOnce remembers nothing yet. Close ends it.
func NewOnce(cfg OnceConfig) *Once {
	if cfg.Keep <= 0 {
		cfg.Keep = 10 * time.Minute
	}
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 50_000
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 64 << 20
	}
	return &Once{cfg: cfg, runs: map[OnceID]*onceRun{}, kept: list.New(), of: map[string]int{}}
}

// Close ends the contexts of the calls in progress and waits for them. Calls
// with a key fail from then on. Further calls do nothing. The error is nil.
func (o *Once) Close() error {
	o.mu.Lock()
	o.closed = true
	for _, r := range o.runs {
		r.stop()
	}
	o.mu.Unlock()
	o.wg.Wait()
	return nil
}

// Serve is the middleware, for [Config.Serve].
func (o *Once) Serve(next Handler) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		key, ok, err := c.IdempotencyKey()
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return next(ctx, c)
		case c.Streams():
			return nil, invalid("%s is a stream, which takes no idempotency key", c.Method)
		}
		r, run, err := o.find(ctx, OnceID{callerOf(c.Peer), c.Method, key}, c.args)
		if err != nil {
			return nil, err
		}
		if run != nil {
			own := *c // the link may use the call's memory again when we return
			own.args, own.header = bytes.Clone(c.args), bytes.Clone(c.header)
			go o.run(run, r, &own, next)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctxError(ctx)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if r.err != nil {
			return nil, r.err
		}
		return r.result, nil
	}
}

// callerOf is who has keys of their own. Whoever has no identity shares those
// of all others without one.
func callerOf(p Peer) string {
	if p.Role == "" {
		return fmt.Sprintf("uid %d", p.UID)
	}
	return p.Role + "/" + p.Subject
}

// find is the run that the key stands for. One that is to be begun has a
// context of its own, which does not end with the caller's.
func (o *Once) find(ctx context.Context, id OnceID, args []byte) (r *onceRun, run context.Context, err error) {
	sum := sha256.Sum256(args)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expire(time.Now())
	if r := o.runs[id]; r != nil {
		if r.args != sum {
			return nil, nil, &named{NameKeyConflict, fmt.Sprintf("%s: the idempotency key %q was used with other arguments; use a new key", id.Method, id.Key)}
		}
		return r, nil, nil
	}
	size := len(args) + len(id.Key)
	o.shed(size)
	switch {
	case o.closed:
		return nil, nil, ErrClosed
	case len(o.runs) >= o.cfg.MaxKeys || o.of[id.Caller] >= (o.cfg.MaxKeys+1)/2:
		return nil, nil, &named{NameBusy, fmt.Sprintf("%d idempotency keys are remembered, %d of them yours; call without one, or in %v", len(o.runs), o.of[id.Caller], o.cfg.Keep)}
	case o.bytes+size > o.cfg.MaxBytes && o.bytes > 0:
		return nil, nil, &named{NameBusy, fmt.Sprintf("calls with idempotency keys hold %d bytes", o.bytes)}
	}
	r = &onceRun{id: id, args: sum, size: size, stored: slices.Contains(o.durable, id.Method), done: make(chan struct{})}
	run, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	o.runs[id] = r
	o.of[id.Caller]++
	o.bytes += size
	o.wg.Add(1)
	return r, run, nil
}

// run makes the call, and keeps what came of it.
func (o *Once) run(ctx context.Context, r *onceRun, c *Call, next Handler) {
	defer o.wg.Done()
	defer r.stop()
	raw, failed, forget := o.call(ctx, r, c, next)
	if !forget {
		o.end(ctx, r, raw, failed)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer close(r.done)
	r.result, r.at = raw, time.Now()
	if failed != nil {
		r.err = failed
	}
	if forget {
		o.forget(r)
		return
	}
	o.keep(r)
	o.shed(0)
}

// call makes the call; forget says that nothing was done.
func (o *Once) call(ctx context.Context, r *onceRun, c *Call, next Handler) (raw msgpack.RawMessage, failed *named, forget bool) {
	err := o.begin(r)
	forget = err != nil
	if err == nil {
		var result any
		if result, err = next(ctx, c); err == nil {
			raw, err = pack(result)
		}
	}
	if err == nil {
		return raw, nil, false
	}
	t := triple(err)
	return nil, &named{t[0].(string), t[1].(string)}, forget || o.cfg.Forget != nil && o.cfg.Forget(err)
}

// keep keeps what came of a run that has ended; the mutex is held.
func (o *Once) keep(r *onceRun) {
	o.count(r, len(r.id.Key)+len(r.result))
	e := o.kept.PushBack(r)
	if o.drop == nil {
		o.drop = e
	}
}

// expire forgets the keys whose time is over; the mutex is held.
func (o *Once) expire(now time.Time) {
	for e := o.kept.Front(); e != nil; e = o.kept.Front() {
		r := e.Value.(*onceRun)
		if now.Sub(r.at) < o.cfg.Keep {
			return
		}
		if o.drop == e {
			o.drop = e.Next()
		}
		o.kept.Remove(e)
		o.forget(r)
	}
}

// shed drops the oldest results until there is room for more bytes; the mutex
// is held.
func (o *Once) shed(more int) {
	for ; o.drop != nil && o.bytes+more > o.cfg.MaxBytes; o.drop = o.drop.Next() {
		r := o.drop.Value.(*onceRun)
		o.count(r, len(r.id.Key))
		if r.result != nil {
			r.result, r.err = nil, &named{NameResultGone, fmt.Sprintf("%s was called with the idempotency key %q and has succeeded; its result is not kept any more", r.id.Method, r.id.Key)}
			if r.stored {
				o.store.Shed(r.id)
			}
		}
	}
}

// count makes size what the run is counted with; the mutex is held.
func (o *Once) count(r *onceRun, size int) {
	o.bytes += size - r.size
	r.size = size
}

// forget frees the key; the mutex is held.
func (o *Once) forget(r *onceRun) {
	if r.stored {
		o.store.Drop(r.id)
	}
	delete(o.runs, r.id)
	o.bytes -= r.size
	if o.of[r.id.Caller]--; o.of[r.id.Caller] == 0 {
		delete(o.of, r.id.Caller)
	}
}

// IdempotencyKey is the key that the caller sent, in the header or, for a
// method with one, in the field of its first argument that [Method.Key] names.
// Without a key, or with an empty or nil one, ok is false.
func (c *Call) IdempotencyKey() (key string, ok bool, err error) {
	raw, err := lookup(c.header, keyOnce)
	if values, list := elements(c.args, nil); err == nil && raw == nil && c.method.Key != "" && list && len(values) > 0 {
		raw, err = lookup(values[0], c.method.Key)
		if errors.Is(err, errNoMap) {
			return "", false, nil // the method says so, and better
		}
	}
	if err != nil || raw == nil || raw[0] == 0xc0 {
		return "", false, err
	}
	h, err := readHead(raw, 0)
	if err != nil || h.kind != kindStr && h.kind != kindBin || h.end-h.data > maxKey {
		return "", false, invalid("an idempotency key is text of at most %d bytes", maxKey)
	}
	return string(raw[h.data:h.end]), h.end > h.data, nil
}
