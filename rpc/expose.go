package rpc

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Expose makes a table of methods of the exported methods of v: any Go value
// becomes a service in one line,
//
//	rpc.Config{Methods: rpc.Expose(v, source)}
//
// They are served under their names in snake_case. A method may take a
// context first, then a *Call, then arguments of any types that travel; those
// at the end that are pointers may be left out by callers, and are nil then.
// It may return nothing, a result, an error, or both. A result of type
// iter.Seq[T] or iter.Seq2[T, error] is a stream, whose first error ends it.
//
// source is Go text that declares the methods (its file, embedded): what they
// do and the names of their arguments are read from there, for Go forgets
// both when it compiles. Without it they go by the names of their types. What
// cannot be served is told when the table is.
func Expose(v any, source ...string) Methods {
	told, err := readSource(typeName(reflect.TypeOf(v)), source)
	value := reflect.ValueOf(v)
	methods := Methods{}
	for i := range value.NumMethod() {
		name := value.Type().Method(i).Name
		m := expose(value.Method(i), told[name])
		if err != nil {
			m.fault = err
		}
		methods[snake(name)] = m
	}
	return methods
}

func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// exposed is a function that is served.
type exposed struct {
	f             reflect.Value
	hasCtx        bool
	hasCall       bool
	args          []reflect.Type
	result        int // the index of what it returns; -1: nothing
	failure       int // the same of its error
	stream, fails bool
}

var (
	ctxType  = reflect.TypeFor[context.Context]()
	callType = reflect.TypeFor[*Call]()
	errType  = reflect.TypeFor[error]()
)

// expose makes a Method of a function.
func expose(f reflect.Value, told declared) Method {
	x := exposed{f: f, result: -1, failure: -1}
	m := Method{Doc: told.doc, fault: x.read(f.Type())}
	if m.fault != nil {
		return m
	}
	m.Args = argNames(x.args, told.params[min(f.Type().NumIn()-len(x.args), len(told.params)):])
	for i := len(x.args); i > 0 && x.args[i-1].Kind() == reflect.Pointer; i-- {
		m.Defaults = append(m.Defaults, nil)
	}
	if x.stream {
		m.Stream = x.serveStream
	} else {
		m.Call = x.serveCall
	}
	return m
}

// read takes the signature in, or says why it cannot be served.
func (x *exposed) read(t reflect.Type) error {
	if t.IsVariadic() {
		return fmt.Errorf("%v takes any number of arguments: let it take a slice", t)
	}
	for i := range t.NumIn() {
		switch in := t.In(i); {
		case in == ctxType && i == 0:
			x.hasCtx = true
		case in == callType && len(x.args) == 0 && !x.hasCall:
			x.hasCall = true
		default:
			x.args = append(x.args, in)
		}
	}
	switch n := t.NumOut(); {
	case n == 0:
	case n == 1 && t.Out(0) == errType:
		x.failure = 0
	case n == 1:
		x.result = 0
	case n == 2 && t.Out(1) == errType:
		x.result, x.failure = 0, 1
	default:
		return fmt.Errorf("%v returns neither (R, error) nor a part of that", t)
	}
	if x.result < 0 {
		return nil
	}
	out := t.Out(x.result)
	x.fails = out.Kind() == reflect.Func && out.CanSeq2() && out.In(0).In(1) == errType
	x.stream = x.fails || out.Kind() == reflect.Func && out.CanSeq()
	for _, k := range slices.Concat(x.args, []reflect.Type{out}) {
		if k := k.Kind(); k == reflect.Chan || k == reflect.UnsafePointer || k == reflect.Func && !x.stream {
			return fmt.Errorf("%v: a %v does not travel", t, k)
		}
	}
	return nil
}

// call runs the function.
func (x *exposed) call(ctx context.Context, c *Call) (result reflect.Value, err error) {
	into := make([]any, len(x.args))
	in := make([]reflect.Value, 0, len(x.args)+2)
	if x.hasCtx {
		in = append(in, reflect.ValueOf(ctx))
	}
	if x.hasCall {
		in = append(in, reflect.ValueOf(c))
	}
	for i, t := range x.args {
		p := reflect.New(t)
		into[i] = p.Interface()
		in = append(in, p.Elem())
	}
	if err := c.Decode(into...); err != nil {
		return result, err
	}
	out := x.f.Call(in)
	if x.failure >= 0 {
		err, _ = reflect.TypeAssert[error](out[x.failure])
	}
	if x.result >= 0 {
		result = out[x.result]
	}
	return result, err
}

func (x *exposed) serveCall(ctx context.Context, c *Call) (any, error) {
	result, err := x.call(ctx, c)
	if err != nil || !result.IsValid() {
		return nil, err
	}
	return result.Interface(), nil
}

func (x *exposed) serveStream(ctx context.Context, c *Call, send func(any) error) error {
	result, err := x.call(ctx, c)
	if err != nil || result.IsNil() {
		return err
	}
	for item, failure := range x.items(result) {
		if failure.IsValid() && !failure.IsNil() {
			return failure.Interface().(error)
		}
		if err := send(item.Interface()); err != nil {
			return err
		}
	}
	return nil
}

func (x *exposed) items(seq reflect.Value) iter.Seq2[reflect.Value, reflect.Value] {
	if x.fails {
		return seq.Seq2()
	}
	return func(yield func(item, _ reflect.Value) bool) {
		for item := range seq.Seq() {
			if !yield(item, reflect.Value{}) {
				return
			}
		}
	}
}

// argNames are the names from the source; where there is none, the type's.
func argNames(types []reflect.Type, params []string) []string {
	names := make([]string, len(types))
	seen := map[string]int{}
	for i, t := range types {
		name := typeName(t)
		if i < len(params) && params[i] != "_" {
			name = params[i]
		}
		if name == "" {
			name = t.Kind().String()
		}
		names[i] = snake(name)
		if seen[names[i]]++; seen[names[i]] > 1 {
			names[i] = fmt.Sprint(names[i], seen[names[i]])
		}
	}
	return names
}

// snake is a Go name in snake_case: ServeHTTPFast is serve_http_fast.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 && runes[i-1] != '_' &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
