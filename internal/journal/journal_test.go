package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"longshore/internal/journal"
	"longshore/rpc"
)

// process is a life of a process that keeps its keys in dir.
type process struct {
	t    *testing.T
	once *rpc.Once
	ran  atomic.Int64
	link *rpc.Link
}

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// begin starts a process. The method "run" waits if told so, until the
// returned channel is closed or the process ends.
func begin(t *testing.T, dir string, cfg rpc.OnceConfig) (p *process, began chan struct{}, release chan struct{}) {
	t.Helper()
	p = &process{t: t, once: rpc.NewOnce(cfg)}
	began, release = make(chan struct{}), make(chan struct{})
	if err := p.once.Keep(open(t, dir), "run"); err != nil {
		t.Fatal(err)
	}
	f := func(ctx context.Context, _ *rpc.Call, what string) (string, error) {
		n := p.ran.Add(1)
		switch what {
		case "fail":
			return "", fmt.Errorf("it failed %d", n)
		case "wait":
			close(began)
			select {
			case <-release:
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		return fmt.Sprint(what, " ", n), nil
	}
	net := rpc.Memory()
	l, err := net.Listen(t.Context(), "mem://x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- rpc.Serve(ctx, l, rpc.Config{
			Methods: rpc.Methods{"run": rpc.Unary("", "what", f), "other": rpc.Unary("", "what", f)},
			Serve:   []func(rpc.Handler) rpc.Handler{p.once.Serve},
		})
	}()
	if p.link, err = rpc.Dial(t.Context(), net, "mem://x", rpc.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.link.Close()
		stop()
		if err := errors.Join(<-served, p.once.Close()); err != nil {
			t.Error(err)
		}
	})
	return p, began, release
}

func (p *process) call(key, method, what string) string {
	var got string
	if err := p.link.Call(rpc.WithIdempotencyKey(context.Background(), key), method, &got, what); err != nil {
		return err.Error()
	}
	return got
}

func (p *process) want(key, method, what, want string) {
	p.t.Helper()
	if got := p.call(key, method, what); got != want {
		p.t.Errorf("%s(%s) with the key %s: %s, want %s", method, what, key, got, want)
	}
}

const unknown = `OutcomeUnknown: run with the idempotency key "%s" was begun, and its end is not known: the process that ran it was ended
next: look what it has done; to run it again use a new key`

// TestLives: what one process did, those after it know; what one was killed
// in, none does again.
func TestLives(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "once")
	first, began, release := begin(t, dir, rpc.OnceConfig{})
	first.want("a", "run", "x", "x 1")
	first.want("b", "run", "fail", "RemoteError: it failed 2")
	first.want("a", "other", "x", "x 3") // its calls are not kept
	killed := make(chan string, 1)
	go func() { killed <- first.call("c", "run", "wait") }()
	<-began // a process that is killed now leaves what is on the disk now

	second, _, _ := begin(t, dir, rpc.OnceConfig{})
	close(release)
	<-killed
	for _, p := range []*process{second, second} {
		p.want("a", "run", "x", "x 1")
		p.want("b", "run", "fail", "RemoteError: it failed 2")
		p.want("c", "run", "wait", fmt.Sprintf(unknown, "c"))
		p.want("a", "run", "y", `KeyConflict: run: the idempotency key "a" was used with other arguments; use a new key`)
		p.want("c", "run", "y", `KeyConflict: run: the idempotency key "c" was used with other arguments; use a new key`)
	}
	second.want("a", "other", "x", "x 1")
	if n := second.ran.Load(); n != 1 {
		t.Errorf("the second process ran %d calls", n)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 6 {
		t.Errorf("there are %v, %v", files, err)
	}
	for _, f := range files {
		if s, err := os.Stat(f); err != nil || s.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, s.Mode(), err)
		}
	}
}

// TestStopped: a call that the process itself ended by stopping has no end
// that the next one could answer.
func TestStopped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, began, _ := begin(t, dir, rpc.OnceConfig{})
	told := make(chan string, 1)
	go func() { told <- first.call("c", "run", "wait") }()
	<-began
	if err := first.once.Close(); err != nil {
		t.Fatal(err)
	}
	if s := <-told; !strings.HasPrefix(s, "Canceled") {
		t.Errorf("the caller got %s", s)
	}
	second, _, _ := begin(t, dir, rpc.OnceConfig{})
	second.want("c", "run", "wait", fmt.Sprintf(unknown, "c"))
}

// TestBounds: keys expire also across lives, by what the disk says; results
// that are too many are shed, and the rest is refused.
func TestBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _, _ := begin(t, dir, rpc.OnceConfig{MaxBytes: 50})
	large := strings.Repeat("x", 30)
	first.want("a", "run", large, large+" 1")
	first.want("b", "run", large, large+" 2")
	if got := first.call("a", "run", large); !strings.HasPrefix(got, "ResultGone") {
		t.Errorf("with too many results: %s", got)
	}
	second, _, _ := begin(t, dir, rpc.OnceConfig{})
	second.want("a", "run", large, fmt.Sprintf(unknown, "a"))
	second.want("b", "run", large, large+" 2")

	// an end 11 minutes ago
	name := endOf(t, dir, "\"result\"")
	b := read(t, name)
	var at int64
	if _, rest, ok := strings.Cut(b, `"at":`); !ok {
		t.Fatal(b)
	} else if _, err := fmt.Sscan(strings.SplitN(rest, ",", 2)[0], &at); err != nil {
		t.Fatal(err)
	}
	write(t, name, strings.Replace(b, fmt.Sprint(at), fmt.Sprint(at-int64(11*time.Minute)), 1))
	third, _, _ := begin(t, dir, rpc.OnceConfig{})
	third.want("b", "run", large, large+" 1")
	third.want("a", "run", large, fmt.Sprintf(unknown, "a"))
	third.want("c", "run", "new", "new 2")

	// that of another boot is kept for its whole time, from now
	name = endOf(t, dir, "\"result\"")
	_, rest, _ := strings.Cut(read(t, name), `"at"`)
	write(t, name, `{"v":1,"boot":"another","at"`+rest)
	fourth, _, _ := begin(t, dir, rpc.OnceConfig{})
	fourth.want("b", "run", large, large+" 1")
	fourth.want("c", "run", "new", "new 2")
	if strings.Contains(read(t, name), "another") {
		t.Error("the end has not been dated by this boot")
	}
}

// TestTorn: what a machine that failed may leave behind.
func TestTorn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _, _ := begin(t, dir, rpc.OnceConfig{})
	first.want("a", "run", "x", "x 1")
	write(t, endOf(t, dir, "result"), `{"v":1,"bo`)
	write(t, filepath.Join(dir, "1234.begun.next"), `{"v"`)
	write(t, filepath.Join(dir, "1234.begun"), `{"v":1}`)
	second, _, _ := begin(t, dir, rpc.OnceConfig{})
	second.want("a", "run", "x", fmt.Sprintf(unknown, "a"))
	if _, err := os.Stat(filepath.Join(dir, "1234.begun.next")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestNoRoom: a call whose key cannot be kept is not made, and may be made
// when it can.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "once")
	p, _, _ := begin(t, dir, rpc.OnceConfig{})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := p.call("a", "run", "x"); !strings.Contains(got, "run was not begun: its idempotency key could not be kept") || p.ran.Load() != 0 {
		t.Errorf("%s after %d runs", got, p.ran.Load())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.want("a", "run", "x", "x 1")
}

// endOf is the one file of an end with that text.
func endOf(t *testing.T, dir, text string) (found string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.ended")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(text)) {
			found = f
		}
	}
	if found == "" {
		t.Fatalf("none of %v says %s", files, text)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
