package rpc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// withBuiltins adds the methods that every ZeroRPC service answers, so that
// the stock command line client can list, describe and ping it.
func withBuiltins(own Methods, name string) Methods {
	all := maps.Clone(own)
	if all == nil {
		all = Methods{}
	}
	all["_zerorpc_ping"] = Nullary("Answer pong and the name of this service.",
		func(context.Context, *Call) ([]string, error) { return []string{"pong", name}, nil })
	all["_zerorpc_name"] = Nullary("The name of this service.",
		func(context.Context, *Call) (string, error) { return name, nil })
	all["_zerorpc_list"] = Nullary("The names of the methods.",
		func(context.Context, *Call) ([]string, error) { return own.shown(), nil })
	all["_zerorpc_help"] = Unary("What a method does.", "method",
		func(_ context.Context, _ *Call, method string) (any, error) {
			m, ok := all[method]
			if !ok {
				return nil, unknown(method)
			}
			return m.describe().Doc, nil
		})
	all["_zerorpc_args"] = Unary("The arguments of a method, as Python's getargspec tells them.", "method",
		func(_ context.Context, _ *Call, method string) ([4]any, error) {
			m, ok := all[method]
			if !ok {
				return [4]any{}, unknown(method)
			}
			return m.argspec(), nil
		})
	all["_zerorpc_inspect"] = Nullary("Every method with its arguments and what it does.",
		func(context.Context, *Call) (inspection, error) { return own.inspect(name), nil })
	return all
}

// description is a method as _zerorpc_inspect tells it.
type description struct {
	Args []map[string]any `json:"args"` // name and, if there is one, default
	Doc  any              `json:"doc"`  // text, or nil
}

type inspection struct {
	Name    string                 `json:"name"`
	Methods map[string]description `json:"methods"`
}

// shown is the names that are no secret, in order.
func (m Methods) shown() []string {
	names := slices.Sorted(maps.Keys(m))
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "_") })
}

func (m Method) describe() description {
	d := description{Args: make([]map[string]any, len(m.Args))}
	for i, name := range m.Args {
		d.Args[i] = map[string]any{"name": name}
		if at := i - (len(m.Args) - len(m.Defaults)); at >= 0 {
			d.Args[i]["default"] = m.Defaults[at]
		}
	}
	if m.Doc != "" {
		d.Doc = m.Doc
	}
	return d
}

// argspec is the names, what takes more, what takes named ones, the defaults.
func (m Method) argspec() [4]any {
	spec := [4]any{m.Args}
	if m.Args == nil {
		spec[0] = []string{}
	}
	if len(m.Defaults) > 0 {
		spec[3] = m.Defaults
	}
	return spec
}

func (m Methods) inspect(name string) inspection {
	all := inspection{Name: name, Methods: map[string]description{}}
	for _, n := range m.shown() {
		all.Methods[n] = m[n].describe()
	}
	return all
}

func unknown(method string) error {
	return &named{NameUnknown, fmt.Sprintf("there is no method %.100s", method)}
}
