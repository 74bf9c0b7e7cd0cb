package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
	"longshore/rpc"
)

// ownBroadcaster is the target that means the broadcaster of --endpoint.
const ownBroadcaster = "broadcaster"

func (a *app) rpc() *cobra.Command {
	var timeout time.Duration
	var key string
	cmd := &cobra.Command{
		Use:   "rpc [flags] TARGET [METHOD [ARGS...]]",
		Short: "Call any method of a broadcaster, a node, or any ZeroRPC service",
		Long: `Call a method and print what it returns as JSON; a stream is printed one JSON value
a line. Without METHOD the methods are listed; METHOD -? (or --help-method) tells
what one does and which arguments it takes.

TARGET is tls://HOST:PORT, tcp://HOST:PORT, ipc:///PATH, the path of a unix socket,
the name of a node (reached through the broadcaster), or "broadcaster" for the one
of --endpoint.

Each of ARGS is read as JSON; what is no JSON is taken as text. So 4 is a number,
web is text, '"4"' is the text 4, and '{"owner": "alice"}' is a map. Flags come
before TARGET. Bytes that are no UTF-8 text are printed as {"base64": "..."}.`,
		Example: `  schedctl rpc tcp://localhost:1234 sleep 4
  schedctl rpc broadcaster status '{"owner": "alice"}'
  schedctl rpc n7 info
  schedctl rpc /run/longshore/node/agent.sock room
  schedctl rpc --key db-setup-1 broadcaster run '{"id": "alice/shop/db", "image": "db:1"}'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if timeout > 0 {
				bounded, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				ctx = bounded
			}
			t, err := a.target(ctx, args[0])
			if err != nil {
				return err
			}
			defer t.link.Close()
			switch {
			case len(args) == 1:
				err = a.listMethods(ctx, t)
			case slices.Contains(args[2:], "-?") || slices.Contains(args[2:], "--help-method"):
				err = a.explainMethod(ctx, t, args[1])
			default:
				err = a.callMethod(ctx, t, key, args[1], args[2:])
			}
			if err != nil && cmd.Context().Err() != nil {
				return &exitError{code: exitInterrupted}
			}
			return t.told(err)
		},
	}
	cmd.Flags().SetInterspersed(false) // -1 is an argument
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after so long (0: never, as long as the other end lives)")
	cmd.Flags().StringVar(&key, "key", "", "idempotency key: called again with it within 10 min, the method does not run again")
	return cmd
}

// target is where methods are called.
type target struct {
	name string
	link *rpc.Link
	node placement.NodeID // behind the broadcaster; "": the link's own end
}

// target finds out what somebody means, and connects.
func (a *app) target(ctx context.Context, name string) (target, error) {
	t := target{name: name}
	var err error
	switch {
	case strings.Contains(name, "://"):
		t.link, err = a.dialTo(ctx, name, "service")
	case strings.Contains(name, "/"):
		path, bad := filepath.Abs(name)
		if bad != nil {
			return t, bad
		}
		t.link, err = a.dialTo(ctx, "ipc://"+path, "service")
	case name == ownBroadcaster:
		t.link, err = a.dial(ctx)
	default:
		t.node = placement.NodeID(name)
		if err := placement.CheckName("node", name); err != nil {
			return t, err
		}
		t.link, err = a.dial(ctx)
	}
	return t, err
}

// told makes an error one that says what to type.
func (t target) told(err error) error {
	remote, ok := errors.AsType[*rpc.RemoteError](err)
	if ok && remote.Name == rpc.NameUnknown {
		return usage("schedctl rpc "+t.name+" lists the methods", "%s", remote.Message)
	}
	return err
}

// call calls a method that returns one result.
func (t target) call(ctx context.Context, method string, args ...any) (result any, err error) {
	if t.node != "" {
		args = []any{t.node, method, slices.Concat([]any{}, args)}
		method = "call"
	}
	err = t.link.Call(ctx, method, &result, args...)
	return result, err
}

// stream calls a method of either kind.
func (t target) stream(ctx context.Context, method string, args []any) (*rpc.Stream, error) {
	if t.node != "" {
		args = []any{t.node, method, slices.Concat([]any{}, args)}
		method = "call_stream"
	}
	return t.link.Stream(ctx, method, args...)
}

// callMethod prints what a method returns or sends. With a key it has to be one
// that returns a result: streams take none.
func (a *app) callMethod(ctx context.Context, t target, key, method string, words []string) error {
	args := make([]any, len(words))
	for i, word := range words {
		args[i] = argument(word)
	}
	if key != "" {
		result, err := t.call(rpc.WithIdempotencyKey(ctx, key), method, args...)
		if err != nil {
			return err
		}
		return a.value(result)
	}
	s, err := t.stream(ctx, method, args)
	if err != nil {
		return err
	}
	defer s.Close()
	for item, err := range rpc.Items[any](s) {
		if err != nil {
			return err
		}
		if err := a.value(item); err != nil {
			return err
		}
	}
	return nil
}

// argument reads a word as JSON, or as text.
func argument(word string) any {
	d := json.NewDecoder(strings.NewReader(word))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return word
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return word // JSON and something more
	}
	return numbers(v)
}

// numbers makes whole numbers integers, as services expect them.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// value prints one value as a line of JSON.
func (a *app) value(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(jsonable(v)); err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	_, err := a.stdout.Write(b.Bytes())
	return err
}

// jsonable is a value with all that JSON lacks replaced.
func jsonable(v any) any {
	switch v := v.(type) {
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return map[string]string{"base64": base64.StdEncoding.EncodeToString(v)}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		for i := range v {
			v[i] = jsonable(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = jsonable(v[k])
		}
	}
	return v
}

// methodInfo is a method as services tell it, stock ones included.
type methodInfo struct {
	name string
	args []string // "name", or "name=default"
	doc  string
}

func (m methodInfo) String() string { return m.name + "(" + strings.Join(m.args, ", ") + ")" }

// methods asks for all methods, by name.
func (t target) methods(ctx context.Context) ([]methodInfo, error) {
	told, err := t.call(ctx, "_zerorpc_inspect")
	if err != nil {
		return nil, err
	}
	whole, _ := told.(map[string]any)
	all, ok := whole["methods"].(map[string]any)
	if !ok {
		return nil, &placement.Error{Kind: placement.KindRefused, What: t.name + " does not tell its methods", Why: "it answers _zerorpc_inspect with something else", Next: "call a method that you know"}
	}
	var list []methodInfo
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := methodInfo{name: name}
		one, _ := all[name].(map[string]any)
		m.doc = text(one["doc"])
		args, _ := one["args"].([]any)
		for _, arg := range args {
			a, _ := arg.(map[string]any)
			word := text(a["name"])
			if value, there := a["default"]; there {
				b, _ := json.Marshal(jsonable(value)) // what is no JSON shows as nothing
				word += "=" + string(b)
			}
			m.args = append(m.args, word)
		}
		list = append(list, m)
	}
	return list, nil
}

// text is what a peer sent as text, perhaps as bytes.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (a *app) listMethods(ctx context.Context, t target) error {
	if a.json {
		told, err := t.call(ctx, "_zerorpc_inspect")
		if err != nil {
			return err
		}
		return a.value(told)
	}
	all, err := t.methods(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"METHOD", "WHAT IT DOES"}}
	for _, m := range all {
		first, _, _ := strings.Cut(strings.TrimSpace(m.doc), "\n")
		rows = append(rows, []string{m.String(), cmp.Or(first, "-")})
	}
	table(a.stdout, rows)
	return nil
}

func (a *app) explainMethod(ctx context.Context, t target, name string) error {
	all, err := t.methods(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(m methodInfo) bool { return m.name == name })
	if i < 0 {
		return usage("schedctl rpc "+t.name+" lists the methods", "%s has no method %q", t.name, name)
	}
	fmt.Fprintf(a.stdout, "%s\n\n%s\n", all[i], cmp.Or(strings.TrimSpace(all[i].doc), "It says nothing about itself."))
	return nil
}
