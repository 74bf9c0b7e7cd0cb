package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"longshore/rpc"
)

// TestMain lets all cases wait at once: they need time, not a processor.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// A foreigner is an implementation of ZeroRPC that is not ours.
type foreigner struct {
	name, python, script string
}

// foreigners are our peer on libzmq and, where somebody has it, the real
// zerorpc.
func foreigners() []foreigner {
	all := []foreigner{{"libzmq", "/usr/bin/python3", "testdata/peer.py"}}
	if python := os.Getenv("ZERORPC_PYTHON"); python != "" {
		all = append(all, foreigner{"zerorpc", python, "testdata/stock.py"})
	}
	return all
}

// process is a running foreigner; it ends with its standard input.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	lines  chan string
	errors bytes.Buffer
}

func (f foreigner) start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, lines: make(chan string, 10)}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), f.python, append([]string{f.script}, args...)...)
	p.cmd.Stderr = &p.errors
	stdin, err := p.cmd.StdinPipe()
	must(t, err)
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(p.end)
	return p
}

// line waits for its next line.
func (p *process) line() string {
	p.t.Helper()
	select {
	case got, ok := <-p.lines:
		if !ok {
			p.end()
			p.t.Fatalf("it ended: %s", p.errors.String())
		}
		return got
	case <-time.After(patience):
		p.t.Fatal("it says nothing")
		panic("unreachable")
	}
}

// end ends it and waits; further calls do nothing.
func (p *process) end() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.stdin.Close()
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	for range p.lines { // to the end, before Wait
	}
	_ = p.cmd.Wait()
}

// house is what our server serves. Causes of ended handlers go to gone.
func house(gone chan<- error) rpc.Methods {
	return rpc.Methods{
		"add": {Args: []string{"a", "b"}, Call: func(_ context.Context, c *rpc.Call) (any, error) {
			var a, b int
			err := c.Decode(&a, &b)
			return a + b, err
		}},
		"echo": rpc.Unary("", "value", func(_ context.Context, _ *rpc.Call, v any) (any, error) { return v, nil }),
		"fail": rpc.Unary("", "how", func(_ context.Context, _ *rpc.Call, how string) (any, error) { return nil, errors.New(how) }),
		"sleep": rpc.Unary("", "seconds", func(ctx context.Context, _ *rpc.Call, s int) (int, error) {
			select {
			case <-time.After(time.Duration(s) * time.Second):
			case <-ctx.Done():
			}
			return s, ctx.Err()
		}),
		"count": rpc.Streaming("", "n", func(_ context.Context, _ *rpc.Call, n int, send func(any) error) error {
			for i := range n {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		}),
		"hang": rpc.Nullary("", func(ctx context.Context, _ *rpc.Call) (int, error) {
			<-ctx.Done()
			gone <- context.Cause(ctx)
			return 0, nil
		}),
		"endless": {Stream: func(_ context.Context, _ *rpc.Call, send func(any) error) error {
			for i := 0; ; i++ {
				if err := send(i); err != nil {
					gone <- err
					return err
				}
			}
		}},
	}
}

// serve starts a server of ours.
func serve(t *testing.T, addr string, gone chan<- error) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l, err := rpc.ZMQ(rpc.ZMQOptions{}).Listen(ctx, addr)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, l, rpc.Config{Identity: "house", Methods: house(gone)}) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return l.Addr()
}

// TestPythonCalls: foreign clients call our server, over a wire that is
// watched and over a unix socket.
func TestPythonCalls(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners() {
		for _, scheme := range []string{"tcp", "ipc"} {
			for name, check := range map[string]func(w *watched){
				"call": (*watched).calls, "error": (*watched).errors, "stream": (*watched).stream,
				"sleep": (*watched).sleep, "hang": nil, "endless": nil, "ids": nil,
			} {
				if scheme == "ipc" && name == "sleep" {
					continue
				}
				t.Run(f.name+"/"+scheme+"/"+name, func(t *testing.T) {
					t.Parallel()
					gone := make(chan error, 1)
					addr := "ipc://" + filepath.Join(socketDir(t), "s")
					if scheme == "ipc" {
						addr = serve(t, addr, gone)
						runClient(t, f, addr, name, gone)
						return
					}
					p := newTap(t, serve(t, "tcp://127.0.0.1:0", gone))
					runClient(t, f, p.addr, name, gone)
					w := &watched{t: t, wire: readTable(t), tap: p, foreign: true}
					w.greeting()
					if check != nil {
						check(w)
					}
				})
			}
		}
	}
}

// runClient runs one case of a foreign client; one that goes silent is given
// up after two heartbeats, in 15 to 20 s.
func runClient(t *testing.T, f foreigner, addr, name string, gone <-chan error) {
	t.Helper()
	began := time.Now()
	c := f.start(t, "client", addr, name)
	if name == "hang" || name == "endless" {
		select {
		case err := <-gone:
			if !errors.Is(err, rpc.ErrLostRemote) {
				t.Errorf("its handler ended by %v", err)
			}
			if d := time.Since(began); d < 10*time.Second {
				t.Errorf("a silent client was given up after %v", d)
			}
		case <-time.After(patience):
			t.Error("a silent client is never given up")
		}
		_ = c.stdin.Close()
	}
	if got := c.line(); got != "ok" {
		t.Errorf("it said %q", got)
	}
}

// TestPythonServes: we call foreign servers.
func TestPythonServes(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners() {
		for name, run := range map[string]func(w *watched){
			"call": (*watched).callTwo, "error": (*watched).callFailing, "stream": (*watched).callStream,
			"sleep": (*watched).callLong, "abandon": (*watched).abandon, "blocked": (*watched).callBlocked,
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				p := newTap(t, f.start(t, "server", "tcp://127.0.0.1:*").line())
				l, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{}), p.addr, rpc.Config{Identity: "us"})
				must(t, err)
				t.Cleanup(func() { _ = l.Close(); l.Wait() })
				w := &watched{t: t, wire: readTable(t), tap: p, link: l, server: f.name}
				w.greeting()
				run(w)
			})
		}
	}
}

func (w *watched) callTwo() {
	var sum int
	must(w.t, w.link.Call(within(w.t), "add", &sum, 1, 2))
	values, got := []any{"é", []byte{0}, 1.5, nil, map[string]any{"k": int64(-1)}}, any(nil)
	must(w.t, w.link.Call(within(w.t), "echo", &got, values))
	ctx, cancel := context.WithTimeout(within(w.t), patience)
	defer cancel()
	must(w.t, w.link.Call(ctx, "add", nil, 1, 2))
	if sum != 3 || !reflect.DeepEqual(got, values) {
		w.t.Errorf("got %d, %#v", sum, got)
	}
	w.dialogue("c: call add 1 2", "s: ok 3", "c: call echo", "s: ok echo", "c: call deadline", "s: ok 3")
}

func (w *watched) callFailing() {
	for _, c := range []struct{ method, arg, name, message string }{{"fail", "so", "ValueError", "so"}, {"nothing", "", "NameError", "nothing"}} {
		var args []any
		if c.arg != "" {
			args = []any{c.arg}
		}
		var remote *rpc.RemoteError
		err := w.link.Call(within(w.t), c.method, nil, args...)
		if !errors.As(err, &remote) || remote.Name != c.name || remote.Message != c.message || remote.Traceback == "" {
			w.t.Errorf("%s: %#v", c.method, err)
		}
	}
	w.errors()
}

func (w *watched) callStream() {
	s, err := w.link.Stream(within(w.t), "count", 10000)
	must(w.t, err)
	for i := range 10000 {
		var got int
		must(w.t, s.Next(&got))
		if got != i {
			w.t.Fatalf("item %d is %d", i, got)
		}
	}
	if err := s.Next(nil); !errors.Is(err, io.EOF) {
		w.t.Errorf("the end is %v", err)
	}
	w.stream()
}

func (w *watched) callLong() {
	var got int
	must(w.t, w.link.Call(within(w.t), "sleep", &got, 30))
	if got != 30 {
		w.t.Errorf("got %d", got)
	}
	w.sleep()
}

// abandon: we tell who is called that we have gone, and go silent; a stock
// server understands the silence.
func (w *watched) abandon() {
	ctx, cancel := context.WithCancel(within(w.t))
	ended := make(chan error, 1)
	go func() { ended <- w.link.Call(ctx, "hang", nil) }()
	w.until("the call is on the wire", func() bool { return len(w.tap.seen()) > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		w.t.Errorf("ended with %v", err)
	}
	began := time.Now()
	w.until("it gives us up", func() bool {
		var lost int
		must(w.t, w.link.Call(within(w.t), "lost", &lost))
		return lost == 1
	})
	if d := time.Since(began); d < 9*time.Second {
		w.t.Errorf("given up after %v", d)
	}
	in := &bound{ids: map[string]string{}}
	w.expect(w.tap.seen()[0], true, "call hang", in)
	for _, m := range w.tap.seen()[1:] {
		if m.fromClient && bytes.Contains(m.frames[1], []byte("_zpc_cancel")) {
			w.expect(m, true, "cancel", in)
			return
		}
	}
	w.t.Error("nothing was cancelled")
}

// callBlocked: a server that cannot beat is lost after two heartbeats.
func (w *watched) callBlocked() {
	began := time.Now()
	err := w.link.Call(within(w.t), "block", nil, 22)
	if d := time.Since(began); !errors.Is(err, rpc.ErrLostRemote) || d < 14*time.Second || d > 21*time.Second {
		w.t.Errorf("after %v: %v", d, err)
	}
	w.expect(w.tap.seen()[0], true, "call block", &bound{ids: map[string]string{}})
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// within makes a context of the test that ends after patience. It has no
// deadline, which would go over the wire.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(patience, cancel)
	tb.Cleanup(func() { timer.Stop(); cancel() })
	return ctx
}

// until waits for a condition.
func (w *watched) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			w.t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ls")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
