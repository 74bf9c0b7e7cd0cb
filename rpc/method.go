package rpc

import (
	"context"
	"fmt"
	"reflect"
	"strings"
)

// Method is one entry of the table of methods that a link serves.
type Method struct {
	Doc  string   // for people who ask the service what it can do
	Args []string // names of the positional arguments

	// Defaults are the values of the last arguments, in order, when a caller
	// leaves them out. See Optional.
	Defaults []any

	// Key, if set, names the field of the first argument, a map, that may carry
	// the idempotency key ([Once]) of callers that cannot set header keys.
	Key string

	// In and Out are the Go types of the arguments and of the result, if they
	// are known: for documentation only.
	In  []reflect.Type
	Out reflect.Type

	fault error // why it can never be served

	// Exactly one of Call and Stream is set. Both run in a goroutine of their
	// own; the context ends when the caller goes away, its deadline passes or
	// the link ends. The error becomes an error triple: one with a method
	// ErrorName() string names it. A panic is an error of its own, and logged.
	Call func(ctx context.Context, c *Call) (any, error)
	// Stream sends items until it returns. send waits until the caller has
	// room and fails when it has gone.
	Stream func(ctx context.Context, c *Call, send func(item any) error) error
}

// Optional is the method with values for the last arguments when a caller
// leaves them out, in order.
func (m Method) Optional(defaults ...any) Method {
	m.Defaults = defaults
	return m
}

// Methods is a table of methods by name. Names that begin with an underscore
// are not shown to stock clients that ask for the list. It must not change
// once it is served.
type Methods map[string]Method

// Call is one request being served.
type Call struct {
	Method string
	Peer   Peer

	svc    *service
	link   *Link     // nil of a one-way event
	in     *incoming // the channel, once it is served
	method Method
	send   func(item any) error // of a stream
	args   []byte
	header []byte
}

// Link is the connection the request came on, to call back. A one-way event
// (PUB, PUSH) has none: nil.
func (c *Call) Link() *Link { return c.link }

// Streams is whether the method answers by a stream of items.
func (c *Call) Streams() bool { return c.method.Stream != nil }

// Raw is the arguments as they came: one msgpack value, not to be changed.
func (c *Call) Raw() []byte { return c.args }

// Decode stores the positional arguments; those left out have the method's
// defaults. A wrong number or type is an error named "Invalid". An *any gets int64, uint64, float64, string, []byte, []any
// or map[string]any. It may be called again.
func (c *Call) Decode(into ...any) error {
	var few [4][]byte
	values, ok := elements(c.args, few[:0])
	if !ok {
		if len(into) > 0 || len(c.args) == 0 || c.args[0] != 0xc0 {
			return invalid("%s: the arguments are no list", c.Method)
		}
	}
	missing := len(into) - len(values)
	if missing < 0 || missing > len(c.method.Defaults) {
		return c.miscounted(len(into), len(values))
	}
	for i, v := range c.method.Defaults[len(c.method.Defaults)-missing:] {
		if err := c.svc.copy(v, into[len(values)+i]); err != nil {
			return fmt.Errorf("%s: default of argument %d: %w", c.Method, len(values)+i+1, err)
		}
	}
	for i, v := range values {
		if err := c.svc.plans.unmarshal(v, into[i]); err != nil {
			return invalid("%s: argument %d: %v", c.Method, i+1, err)
		}
	}
	return nil
}

func (c *Call) miscounted(want, got int) error {
	if n := len(c.method.Defaults); n > 0 {
		return invalid("%s takes %d to %d arguments, got %d", c.Method, want-n, want, got)
	}
	return invalid("%s takes %d arguments, got %d", c.Method, want, got)
}

// Header stores the value of an extra key of the request's header, which stock
// peers fill from their task context (trace ids and the like). Without that
// key, ok is false.
func (c *Call) Header(key string, into any) (ok bool, err error) {
	raw, err := lookup(c.header, key)
	if err != nil || raw == nil {
		return false, err
	}
	return true, c.svc.plans.unmarshal(raw, into)
}

// errNoMap: a value has no keys.
var errNoMap = fmt.Errorf("%w: it is no map", errBytes)

// lookup is the value of a key in a scanned map of msgpack, or nil.
func lookup(b []byte, key string) ([]byte, error) {
	h, err := readHead(b, 0)
	if err != nil || h.kind != kindMap {
		return nil, errNoMap
	}
	pos := h.end
	for range h.children / 2 {
		k, err := readHead(b, pos)
		if err != nil {
			return nil, err
		}
		value, err := skip(b, pos)
		if err != nil {
			return nil, err
		}
		end, err := skip(b, value)
		if err != nil {
			return nil, err
		}
		if (k.kind == kindStr || k.kind == kindBin) && string(b[k.data:k.end]) == key {
			return b[value:end], nil
		}
		pos = end
	}
	return nil, nil
}

// Nullary makes a Method of a function without arguments.
func Nullary[R any](doc string, f func(ctx context.Context, c *Call) (R, error)) Method {
	return Method{Doc: doc, Out: reflect.TypeFor[R](), Call: func(ctx context.Context, c *Call) (any, error) {
		if err := c.Decode(); err != nil {
			return nil, err
		}
		return f(ctx, c)
	}}
}

// Unary makes a Method of a function of one argument.
func Unary[A, R any](doc, arg string, f func(ctx context.Context, c *Call, a A) (R, error)) Method {
	return Method{Doc: doc, Args: []string{arg}, In: []reflect.Type{reflect.TypeFor[A]()}, Out: reflect.TypeFor[R](), Call: func(ctx context.Context, c *Call) (any, error) {
		var a A
		if err := c.Decode(&a); err != nil {
			return nil, err
		}
		return f(ctx, c, a)
	}}
}

// Streaming makes a Method of a function of one argument that sends items.
func Streaming[A any](doc, arg string, f func(ctx context.Context, c *Call, a A, send func(any) error) error) Method {
	return Method{Doc: doc, Args: []string{arg}, In: []reflect.Type{reflect.TypeFor[A]()}, Stream: func(ctx context.Context, c *Call, send func(any) error) error {
		var a A
		if err := c.Decode(&a); err != nil {
			return err
		}
		return f(ctx, c, a, send)
	}}
}

// validate refuses methods that could not be served.
func (m Methods) validate() error {
	for name, method := range m {
		switch {
		case name == "" || len(name) > 255:
			return fmt.Errorf("rpc: method %q: the name must have 1 to 255 bytes", name)
		case strings.HasPrefix(name, "_zerorpc_") || strings.HasPrefix(name, "_zpc_"):
			return fmt.Errorf("rpc: method %q: names with this beginning are the protocol's", name)
		case method.fault != nil:
			return fmt.Errorf("rpc: method %q: %w", name, method.fault)
		case len(method.Defaults) > len(method.Args):
			return fmt.Errorf("rpc: method %q: %d defaults for %d arguments", name, len(method.Defaults), len(method.Args))
		case (method.Call == nil) == (method.Stream == nil):
			return fmt.Errorf("rpc: method %q: exactly one of Call and Stream must be set", name)
		}
	}
	return nil
}
