package console_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"longshore/agent/console"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

// TestExecOnce: a second call with a key waits for the first and gets its
// result; it runs once, and goes on when its caller is gone.
func TestExecOnce(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	began, release := make(chan struct{}), make(chan struct{})
	f := newFakes()
	f.exec = func(ctx context.Context, cmd dockerd.Command, out dockerd.Output) (int, error) {
		runs.Add(1)
		close(began)
		select {
		case <-release:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		return 3, errors.Join(out(dockerd.Stdout, cmd.Stdin), out(dockerd.Stderr, []byte{0xff}))
	}
	dial := serve(t, f)
	cmd := console.Command{Container: "alice/shop/web/2", Argv: []string{"replicate"}, Stdin: []byte("caf\u00e9"), Key: "k1"}
	first := dial("operator/eve")
	lost := make(chan error, 1)
	go func() { lost <- first.Call(t.Context(), "exec", nil, cmd) }()
	<-began
	first.Close()
	if err := <-lost; err == nil {
		t.Error("the call on the closed link has an answer")
	}
	second := make(chan error, 1)
	var r console.Result
	go func() { second <- dial("operator/eve").Call(t.Context(), "exec", &r, cmd) }()
	other := cmd
	other.Argv = []string{"something else"}
	if err := dial("operator/eve").Call(t.Context(), "exec", nil, other); kind(err) != rpc.NameKeyConflict {
		t.Errorf("the key with other arguments: %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	bin, _ := r.Stderr.([]byte)
	if r.ExitCode != 3 || r.Stdout != "caf\u00e9" || !bytes.Equal(bin, []byte{0xff}) || runs.Load() != 1 {
		t.Errorf("%+v after %d runs", r, runs.Load())
	}
}

func TestExecBounds(t *testing.T) {
	t.Parallel()
	f := newFakes()
	f.exec = func(ctx context.Context, cmd dockerd.Command, out dockerd.Output) (int, error) {
		if cmd.Argv[0] == "cat" {
			return 0, out(dockerd.Stdout, cmd.Stdin)
		}
		if cmd.Argv[0] == "slow" {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		for range 3 {
			if err := out(dockerd.Stdout, []byte("\u00e9\u00e9\u00e9")); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
	link := serve(t, f)("")
	call := func(cmd console.Command) (r console.Result, err error) {
		cmd.Container = "alice/shop/web/2"
		err = link.Call(t.Context(), "exec", &r, cmd)
		return r, err
	}
	if r, err := call(console.Command{Argv: []string{"much"}, MaxOutput: 7}); err != nil || r.Stdout != "\u00e9\u00e9\u00e9" || !r.Truncated || r.Dropped != 12 {
		t.Errorf("with 7 bytes to keep: %+v, %v", r, err)
	}
	if r, err := call(console.Command{Argv: []string{"much"}}); err != nil || r.Truncated || len(r.Stdout.(string)) != 18 {
		t.Errorf("with enough to keep: %+v, %v", r, err)
	}
	var echoed console.Result
	err := link.Call(t.Context(), "exec", &echoed, map[string]any{"container": "alice/shop/web/2", "argv": []any{"cat"}, "stdin": "as text"})
	if err != nil || echoed.Stdout != "as text" {
		t.Errorf("with text as its input: %+v, %v", echoed, err)
	}
	if r, err := call(console.Command{Argv: []string{"slow"}, Timeout: 20}); err != nil || !r.TimedOut || r.ExitCode != -1 {
		t.Errorf("that took too long: %+v, %v", r, err)
	}
	for name, bad := range map[string]console.Command{
		"no program": {}, "no time": {Argv: []string{"a"}, Timeout: -1}, "too much": {Argv: []string{"a"}, MaxOutput: 2 << 20},
		"env": {Argv: []string{"a"}, Env: []string{"A"}},
	} {
		if _, err := call(bad); kind(err) != placement.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStreams: text stays text though it is cut anywhere; the exit code is the
// last item; one that nobody reads holds up nobody.
func TestStreams(t *testing.T) {
	t.Parallel()
	all := []byte(strings.Repeat("h\u00e9llo w\u00f6rld \U0001f433\n", 1000))
	f := newFakes()
	f.exec = func(_ context.Context, _ dockerd.Command, out dockerd.Output) (int, error) {
		for i := 0; i < len(all); i += 7 {
			if err := out(dockerd.Stdout, all[i:min(i+7, len(all))]); err != nil {
				return 0, err
			}
		}
		return 7, out(dockerd.Stderr, []byte("cut \xf0\x9f"))
	}
	stuck := make(chan struct{})
	f.logs = func(_ context.Context, out dockerd.Output) error {
		defer close(stuck)
		for {
			if err := out(dockerd.Stdout, bytes.Repeat([]byte("x"), 10_000)); err != nil {
				return err
			}
		}
	}
	dial := serve(t, f)
	slow := dial("")
	logs, err := slow.Stream(t.Context(), "container_logs", "alice/shop/web/2")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // on its own link too
		var out, errs []byte
		s, err := slow.Stream(t.Context(), "exec_stream", console.Command{Container: "alice/shop/web/2", Argv: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		var item map[string]any
		for {
			item = map[string]any{}
			if err := s.Next(&item); err != nil {
				t.Fatal(err)
			}
			if item["stream"] == nil {
				break
			}
			switch data := item["data"].(type) {
			case string:
				out = append(out, data...)
				if item["stream"] == "stderr" {
					errs, out = append(errs, data...), out[:len(out)-len(data)]
				}
			case []byte:
				errs = append(errs, data...)
			}
		}
		if item["exit_code"] != int64(7) || !bytes.Equal(out, all) || string(errs) != "cut \xf0\x9f" {
			t.Fatalf("%d bytes, %q, last %v", len(out), errs, item)
		}
		if err := s.Next(nil); !errors.Is(err, io.EOF) {
			t.Errorf("after the last item: %v", err)
		}
	}
	logs.Close()
	select {
	case <-stuck:
	case <-time.After(10 * time.Second):
		t.Error("the stream that nobody read goes on after its end")
	}
}
