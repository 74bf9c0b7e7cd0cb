package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/placement"
	"longshore/rpc"
)

// serveHere serves methods on a socket until the test ends, and returns the
// directory that holds it, as "s".
func serveHere(t *testing.T, methods rpc.Methods, once *rpc.Once) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ls") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(t.Context())
	l, err := rpc.ZMQ(rpc.ZMQOptions{}).Listen(ctx, "ipc://"+filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- rpc.Serve(ctx, l, rpc.Config{Identity: "house", Methods: methods, Serve: []func(rpc.Handler) rpc.Handler{once.Serve}})
	}()
	t.Cleanup(func() { cancel(); <-ended; once.Close() })
	return dir
}

// parrot says what it was told, in every way that a method can.
func parrot() rpc.Methods {
	runs := 0
	return rpc.Methods{
		"echo": {
			Doc: "Say it again.\nAll of it.", Args: []string{"a", "b"}, Defaults: []any{nil},
			Call: func(_ context.Context, c *rpc.Call) (any, error) {
				var a, b any
				err := c.Decode(&a, &b)
				return []any{a, b}, err
			},
		},
		"bytes": rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { return []any{[]byte("text"), []byte{0xff}, nil}, nil }),
		"none":  rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { return nil, nil }),
		"count": rpc.Streaming("", "n", func(_ context.Context, _ *rpc.Call, n int, send func(any) error) error {
			for i := range n {
				if err := send(map[string]any{"i": i, "<": "&"}); err != nil {
					return err
				}
			}
			return nil
		}),
		"fail": rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) {
			return nil, &placement.Error{Kind: placement.KindRefused, What: "no", Why: "7 of 8", Next: "try 8"}
		}),
		"plain": rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { return nil, errors.New("broken") }),
		"once":  rpc.Nullary("", func(context.Context, *rpc.Call) (any, error) { runs++; return runs, nil }),
		// As a broadcaster does for its nodes.
		"call_stream": {Doc: "", Args: []string{"node", "method", "args"}, Stream: func(_ context.Context, c *rpc.Call, send func(any) error) error {
			var node, method string
			var args []any
			if err := c.Decode(&node, &method, &args); err != nil {
				return err
			}
			return send(fmt.Sprint(node, " ", method, " ", args))
		}},
	}
}

func TestRPC(t *testing.T) {
	t.Parallel()
	dir := serveHere(t, parrot(), rpc.NewOnce(rpc.OnceConfig{}))
	tcp := "rpc ipc://DIR/s "
	runTyped(t, dir, []typed{
		{line: tcp + `echo 4 web`, stdout: "[4,\"web\"]\n"},
		{line: tcp + `echo "4" {"a":[1,2.5,null]}`, stdout: "[\"4\",{\"a\":[1,2.5,null]}]\n"},
		{line: tcp + `echo -1 --json`, stdout: "[-1,\"--json\"]\n"},
		{line: tcp + `echo 1e30 4,`, stdout: "[1e+30,\"4,\"]\n"},
		{line: tcp + `echo 9007199254740993 x`, stdout: "[9007199254740993,\"x\"]\n"},
		{line: tcp + `bytes`, stdout: "[\"text\",{\"base64\":\"/w==\"},null]\n"},
		{line: tcp + `none`, stdout: "null\n"},
		{line: tcp + `count 2`, stdout: "{\"<\":\"&\",\"i\":0}\n{\"<\":\"&\",\"i\":1}\n"},
		{line: tcp + `fail`, code: 1, stderr: "schedctl: no\n  why: 7 of 8\n  next: try 8\n"},
		{line: tcp + `plain`, code: 1, stderr: "broken"},
		{line: tcp + `echo 1 2 3`, code: 2, stderr: "echo takes"},
		{line: tcp + `nothing`, code: 2, stderr: "there is no method nothing\n  next: schedctl rpc ipc://"},
		{line: tcp, stdout: "echo(a, b=null)"},
		{line: "--json " + tcp, stdout: `"echo":{"args":[{"name":"a"},{"default":null,"name":"b"}],"doc":"Say it again.\nAll of it."}`},
		{line: tcp + `echo -?`, stdout: "echo(a, b=null)\n\nSay it again.\nAll of it.\n"},
		{line: tcp + `echo --help-method`, stdout: "All of it."},
		{line: tcp + `nothing -?`, code: 2, stderr: `has no method "nothing"`},
		{line: "rpc DIR/s echo 1", stdout: "[1,null]\n"},
		{line: "--endpoint ipc://DIR/s rpc broadcaster echo 1", stdout: "[1,null]\n"},
		{line: "--endpoint ipc://DIR/s rpc n7 room 1 a", stdout: "\"n7 room [1 a]\"\n"},
		{line: "rpc --key k1 DIR/s once", stdout: "1\n"},
		{line: "rpc --key k1 DIR/s once", stdout: "1\n"},
		{line: "rpc --key k2 DIR/s once", stdout: "2\n"},
		{line: "rpc DIR/none echo 1", code: 5, stderr: "no service answers at ipc://"},
		{line: "rpc tcp://127.0.0.1:1 sleep 4", code: 5, stderr: "next: is it running there?"},
		{line: "rpc http://x y", code: 2, stderr: "is no address of a service"},
		{line: "--endpoint ipc://DIR/s rpc n..7 room", code: 2, stderr: "is not a valid name"},
		{line: "rpc", code: 2, stderr: "schedctl rpc does not take 0 arguments"},
		{line: "rpc --help", stdout: "Each of ARGS is read as JSON"},
	})
}

// TestRPCTimesOut: a method that hangs is given up at --timeout.
func TestRPCTimesOut(t *testing.T) {
	t.Parallel()
	dir := serveHere(t, rpc.Methods{"hang": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})}, rpc.NewOnce(rpc.OnceConfig{}))
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"rpc", "--timeout", "100ms", dir + "/s", "hang"}, strings.NewReader(""), &stdout, &stderr); code == 0 {
		t.Errorf("exit code %d, %s%s", code, &stdout, &stderr)
	}
}

func TestArgument(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]any{
		"4": int64(4), "-4": int64(-4), "4.0": 4.0, "web": "web", `"4"`: "4", "true": true, "null": nil, "": "", "4 5": "4 5", "{": "{", "007": "007",
		`{"a": [1, {"b": 2}]}`: map[string]any{"a": []any{int64(1), map[string]any{"b": int64(2)}}},
	} {
		if diff := cmp.Diff(want, argument(word)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", word, diff)
		}
	}
}
