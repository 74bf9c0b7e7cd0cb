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
		func(_ context.Context, _ *Call, method string) (string, error) {
			m, ok := all[method]
			if !ok {
				return "", unknown(method)
			}
			return m.Doc, nil
		})
	all["_zerorpc_args"] = Unary("The arguments of a method.", "method",
		func(_ context.Context, _ *Call, method string) ([]argument, error) {
			m, ok := all[method]
			if !ok {
				return nil, unknown(method)
			}
			return m.arguments(), nil
		})
	all["_zerorpc_inspect"] = Nullary("Every method with its arguments and what it does.",
		func(context.Context, *Call) (inspection, error) { return own.inspect(name), nil })
	return all
}

type argument struct {
	Name string `json:"name"`
}

type description struct {
	Args []argument `json:"args"`
	Doc  string     `json:"doc"`
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

func (m Method) arguments() []argument {
	args := make([]argument, len(m.Args))
	for i, a := range m.Args {
		args[i].Name = a
	}
	return args
}

func (m Methods) inspect(name string) inspection {
	all := inspection{Name: name, Methods: map[string]description{}}
	for _, n := range m.shown() {
		all.Methods[n] = description{Args: m[n].arguments(), Doc: m[n].Doc}
	}
	return all
}

func unknown(method string) error {
	return &named{NameUnknown, fmt.Sprintf("there is no method %.100s", method)}
}
