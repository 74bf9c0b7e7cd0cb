package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
)

// Handler serves one call and returns its result, or its error. A stream's
// items go out while it runs, and its result is nothing.
type Handler func(ctx context.Context, c *Call) (any, error)

// Invoker makes one call of ours. It returns when the answer is in
// [Request.Into]; for a stream, when the request is sent.
type Invoker func(ctx context.Context, r *Request) error

// Request is a call about to be made, as the invokers of [Config.Invoke] see
// it. They may change Method, Args and Into before they call the next.
type Request struct {
	Method  string
	Args    []any
	Into    any  // where the result goes; nil: nowhere, and for streams
	Streams bool // made by Link.Stream

	link   *Link
	extra  []extra
	stream *Stream
	ends   []func(err error)
}

// extra is one more key of a header.
type extra struct {
	key   string
	value any
}

// Link is the connection that the call goes out on.
func (r *Request) Link() *Link { return r.link }

// Set puts one more key into the header of the request; set again, it has the
// new value. The other end reads it by Call.Header; stock peers have it in
// their task context. More than 11 keys, or a key of the protocol's own, make
// the call fail.
func (r *Request) Set(key string, value any) {
	i := slices.IndexFunc(r.extra, func(e extra) bool { return e.key == key })
	if i < 0 {
		r.extra = append(r.extra, extra{key, value})
		return
	}
	r.extra[i].value = value
}

// OnEnd has f called once when the call is over: before Link.Call returns; for
// a stream, when Next has answered an error for the first time or at Close,
// whichever is first. A stream that came to its end has a nil err.
func (r *Request) OnEnd(f func(err error)) { r.ends = append(r.ends, f) }

// end calls what OnEnd was given, the last one first.
func (r *Request) end(err error) {
	for _, f := range slices.Backward(r.ends) {
		f(err)
	}
}

// chain wraps the calls that are served: the first of Serve is the outermost.
func (s *service) chain() {
	s.handler = s.run
	for _, wrap := range slices.Backward(s.Serve) {
		s.handler = s.unpanicked(wrap(s.handler))
	}
	if len(s.Invoke) == 0 {
		return
	}
	s.invoker = issue
	for _, wrap := range slices.Backward(s.Invoke) {
		s.invoker = wrap(s.invoker)
	}
}

// run calls the method; its panic becomes an error.
func (s *service) run(ctx context.Context, c *Call) (result any, err error) {
	defer s.recovered(c, &err)
	if s.relay != nil {
		return nil, s.relay(ctx, c.in)
	}
	if c.method.Stream != nil {
		return nil, c.method.Stream(ctx, c, c.send)
	}
	return c.method.Call(ctx, c)
}

// unpanicked makes the panic of a middleware an error.
func (s *service) unpanicked(h Handler) Handler {
	return func(ctx context.Context, c *Call) (result any, err error) {
		defer s.recovered(c, &err)
		return h(ctx, c)
	}
}

// recovered is deferred by what must not panic.
func (s *service) recovered(c *Call, err *error) {
	if r := recover(); r != nil {
		s.Logger.Error("handler panicked", "method", c.Method, "err", r, "stack", string(debug.Stack()))
		*err = &named{NamePanic, fmt.Sprintf("%s panicked: %v", c.Method, r)}
	}
}

// issue is the innermost invoker.
func issue(ctx context.Context, r *Request) (err error) {
	if !r.Streams {
		return r.link.call(ctx, r.Method, r.Into, r.Args, r.extra)
	}
	if r.stream != nil { // a middleware tries again
		_ = r.stream.Close() // always nil
	}
	r.stream, err = r.link.stream(ctx, r.Method, r.Args, r.extra)
	return err
}

// invoke sends a request through the invokers.
func (l *Link) invoke(ctx context.Context, r *Request) error {
	err := l.svc.invoker(ctx, r)
	if err == nil && r.Streams && r.stream == nil {
		err = fmt.Errorf("stream %s: no middleware opened it", r.Method)
	}
	switch {
	case err == nil && r.Streams:
		r.stream.over = r.end
		return nil
	case r.stream != nil:
		_ = r.stream.Close() // always nil
	}
	r.end(err)
	return err
}
