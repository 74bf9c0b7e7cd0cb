package dockerd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// heard keeps what an Output gets.
type heard struct {
	mu       sync.Mutex
	out, err bytes.Buffer
}

func (h *heard) take(from dockerd.Stream, b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from == dockerd.Stdout {
		h.out.Write(b)
	} else {
		h.err.Write(b)
	}
	return nil
}

func (h *heard) sizes() (out, err int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.out.Len(), h.err.Len()
}

// kindIs tells whether err is a placement.Error of that kind.
func kindIs(err error, kind string) bool {
	var e *placement.Error
	return errors.As(err, &e) && e.Kind == kind
}

func TestExec(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web := id("alice", "web")
	n.launch(n.spec(web, m.image(t, "alice/hello", 0)))
	n.answers(web)

	run := func(cmd dockerd.Command) (string, string, int) {
		t.Helper()
		var h heard
		code, err := n.host.Exec(n.ctx(), web, cmd, h.take)
		n.ok(err)
		return h.out.String(), h.err.String(), code
	}
	input := []byte(strings.Repeat("some input\n", 30_000))
	if out, _, code := run(dockerd.Command{Argv: []string{"/app", "cat"}, Stdin: input}); out != string(input) || code != 0 {
		t.Errorf("cat gave %d of %d bytes, exit %d", len(out), len(input), code)
	}
	if out, _, code := run(dockerd.Command{Argv: []string{"/app", "cat"}}); out != "" || code != 0 {
		t.Errorf("cat of nothing gave %q, exit %d", out, code)
	}
	if _, _, code := run(dockerd.Command{Argv: []string{"/app", "exit", "42"}}); code != 42 {
		t.Errorf("exit %d, want 42", code)
	}
	if out, _, _ := run(dockerd.Command{Argv: []string{"/app", "env"}, Env: []string{"SAY=hey"}, Dir: "/proc"}); out != "hey /proc" {
		t.Errorf("env and directory: %q", out)
	}
	if out, errs, code := run(dockerd.Command{Argv: []string{"/app", "spew", "1000"}}); len(out) != 1000 || len(errs) != 1000 || code != 0 {
		t.Errorf("spew: %d bytes of stdout, %d of stderr, exit %d", len(out), len(errs), code)
	}
	if out, errs, code := run(dockerd.Command{Argv: []string{"/nothing"}}); (code != 126 && code != 127) || !strings.Contains(out+errs, "/nothing") {
		t.Errorf("no such program: exit %d, %q", code, out+errs)
	}
	if _, err := n.host.Exec(n.ctx(), id("alice", "other"), dockerd.Command{Argv: []string{"/app"}}, new(heard).take); !kindIs(err, placement.KindNotFound) {
		t.Errorf("exec in a copy that is not there: %v", err)
	}
	if _, err := n.host.Exec(n.ctx(), id("carol", "web"), dockerd.Command{Argv: []string{"/app"}}, new(heard).take); !kindIs(err, placement.KindNotFound) {
		t.Errorf("exec for an owner without a daemon: %v", err)
	}
	n.ok(n.host.Create(n.ctx(), n.spec(id("alice", "idle"), m.image(t, "alice/hello", 0))))
	if _, err := n.host.Exec(n.ctx(), id("alice", "idle"), dockerd.Command{Argv: []string{"/app"}}, new(heard).take); !kindIs(err, placement.KindRefused) {
		t.Errorf("exec in a copy that does not run: %v", err)
	}
}

// TestExecEndsWithItsContext: the process that is run is killed, and what it
// began, and nothing else of the container.
func TestExecEndsWithItsContext(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web := id("alice", "web")
	n.launch(n.spec(web, m.image(t, "alice/hello", 0)))
	n.answers(web)
	programs := func() int {
		top, err := n.docker("alice").ContainerTop(n.ctx(), web.ContainerName(), nil)
		n.ok(err)
		return len(top.Processes)
	}
	ctx, cancel := context.WithCancelCause(n.ctx())
	ended := make(chan error, 1)
	go func() {
		_, err := n.host.Exec(ctx, web, dockerd.Command{Argv: []string{"/app", "fork"}}, new(heard).take)
		ended <- err
	}()
	n.eventually("it and its child run", func() bool { return programs() == 3 })
	late := errors.New("too late")
	cancel(late)
	if err := <-ended; !errors.Is(err, late) {
		t.Errorf("the error is %v", err)
	}
	n.eventually("both are gone", func() bool { return programs() == 1 })
	n.answers(web)

	stop := errors.New("enough")
	_, err := n.host.Exec(n.ctx(), web, dockerd.Command{Argv: []string{"/app", "spew", "100000000"}}, func(dockerd.Stream, []byte) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("with an output that fails: %v", err)
	}
	n.eventually("it is gone too", func() bool { return programs() == 1 })
}

// TestLogs: 10 MB of logs go to who reads them, while another does not read.
func TestLogs(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	image := m.image(t, "alice/hello", 0)
	chatty, web := id("alice", "chatty"), id("alice", "web")
	n.launch(n.spec(web, image))
	const size = 5 << 20 // on each of the two outputs
	n.launch(n.spec(chatty, image, "spew", fmt.Sprint(size)))

	stuck, release := make(chan struct{}), make(chan struct{})
	slow := make(chan error, 1)
	go func() {
		first := sync.OnceFunc(func() { close(stuck) })
		slow <- n.host.Logs(n.ctx(), chatty, dockerd.LogQuery{Follow: true}, func(dockerd.Stream, []byte) error {
			first()
			<-release
			return errors.New("enough")
		})
	}()
	n.eventually("the slow reader has something", func() bool {
		select {
		case <-stuck:
			return true
		default:
			return false
		}
	})
	n.eventually("it has written all", func() bool {
		d, err := n.host.Inspect(n.ctx(), chatty)
		n.ok(err)
		return d.State == placement.CopyExited
	})
	var all heard
	n.ok(n.host.Logs(n.ctx(), chatty, dockerd.LogQuery{Follow: true}, all.take))
	if out, errs := all.sizes(); out != size || errs != size {
		t.Errorf("%d bytes of stdout, %d of stderr, want %d of each", out, errs, size)
	}
	var tail heard
	n.ok(n.host.Logs(n.ctx(), chatty, dockerd.LogQuery{Tail: 3}, tail.take))
	if out, errs := tail.sizes(); out+errs != 3*64 {
		t.Errorf("tail of 3: %d bytes", out+errs)
	}
	var stamped heard
	n.ok(n.host.Logs(n.ctx(), chatty, dockerd.LogQuery{Tail: 1, Stamps: true}, stamped.take))
	first, _, _ := strings.Cut(stamped.out.String()+stamped.err.String(), " ")
	if _, err := time.Parse(time.RFC3339Nano, first); err != nil {
		t.Errorf("a stamped line begins with %q", first)
	}
	var none heard
	n.ok(n.host.Logs(n.ctx(), chatty, dockerd.LogQuery{Since: time.Nanosecond}, none.take))
	if out, errs := none.sizes(); out+errs != 0 {
		t.Errorf("since just now: %d bytes", out+errs)
	}
	n.answers(web)
	close(release)
	<-slow

	ctx, cancel := context.WithCancel(n.ctx())
	cancel()
	if err := n.host.Logs(ctx, web, dockerd.LogQuery{Follow: true}, none.take); err == nil {
		t.Error("following a copy that runs came to an end")
	}
}

func TestFiles(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web := id("alice", "web")
	n.launch(n.spec(web, m.image(t, "alice/hello", 0)))

	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	n.ok(w.WriteHeader(&tar.Header{Name: "conf/a", Mode: 0o640, Size: int64(len(content))}))
	_, err := w.Write(content)
	n.ok(err)
	n.ok(w.Close())
	n.ok(n.host.WriteFiles(n.ctx(), web, "/", &archive))
	body, err := n.host.ReadFiles(n.ctx(), web, "/conf")
	n.ok(err)
	defer body.Close()
	found := map[string][]byte{}
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		n.ok(err)
		found[h.Name], err = io.ReadAll(r)
		n.ok(err)
	}
	if !bytes.Equal(found["conf/a"], content) {
		t.Errorf("what was written is not what is read: %d files, %d bytes", len(found), len(found["conf/a"]))
	}
	if _, err := n.host.ReadFiles(n.ctx(), web, "/nothing"); !kindIs(err, placement.KindNotFound) {
		t.Errorf("read of what is not there: %v", err)
	}
	if err := n.host.WriteFiles(n.ctx(), web, "/nothing", new(bytes.Buffer)); !kindIs(err, placement.KindNotFound) {
		t.Errorf("write to where nothing is: %v", err)
	}
}

func TestInspectMeterImages(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	web, image := id("alice", "web"), m.image(t, "alice/hello", 0)
	if images, err := n.host.Images(n.ctx(), "alice"); err != nil || len(images) != 0 {
		t.Errorf("images before the daemon: %v %v", images, err)
	}
	if _, daemons := n.list(); len(daemons) != 0 {
		t.Error("asking for images made a daemon")
	}
	n.launch(n.spec(web, image, "eat", "20"))
	d, err := n.host.Inspect(n.ctx(), web)
	n.ok(err)
	if d.ID != web || d.State != placement.CopyRunning || d.Image != image || d.Pid == 0 || d.Address == "" ||
		!slices.Equal(d.Command, []string{"eat", "20"}) || d.LimitMem != 64<<20 || d.LimitCPU != 1000 {
		t.Errorf("inspect: %+v", d)
	}
	meter, err := n.host.Meter(n.ctx(), web)
	n.ok(err)
	n.eventually("20 MiB are in use", func() bool {
		s, err := meter.Read()
		n.ok(err)
		return s.Memory > 20<<20 && s.Memory < 60<<20 && s.CPU > 0 && s.Pids > 0
	})
	images, err := n.host.Images(n.ctx(), "alice")
	if err != nil || len(images) != 1 || images[0].Names[0] != image || images[0].Size == 0 {
		t.Errorf("images: %+v %v", images, err)
	}
	n.ok(n.host.Remove(n.ctx(), "alice", web, epoch1, time.Second))
	if _, err := meter.Read(); !errors.Is(err, dockerd.ErrEnded) {
		t.Errorf("measured after its end: %v", err)
	}
	if _, err := n.host.Inspect(n.ctx(), web); !kindIs(err, placement.KindNotFound) {
		t.Errorf("inspect of what is gone: %v", err)
	}
}
