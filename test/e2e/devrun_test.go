package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// devRun is one `schedctl dev`, as a user runs it.
type devRun struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	tty  *os.File // the terminal's other end, if it has one
	done chan struct{}
}

// devOption changes the command before it is started.
type devOption func(*devRun)

func withEnv(env ...string) devOption {
	return func(d *devRun) { d.cmd.Env = append(os.Environ(), env...) }
}

func withUser(uid uint32) devOption {
	return func(d *devRun) {
		d.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
}

// onTerminal gives it a terminal of its own, so that ^C can be typed and the
// window closed.
func onTerminal(d *devRun) {
	d.t.Helper()
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	raw, err := tty.SyscallConn()
	if err != nil {
		d.t.Fatal(err)
	}
	var number int
	// Fd would make reads block, and with them the closing of the window.
	if err := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil {
		d.t.Fatal(err)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	end, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	d.tty = tty
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = end, end, end
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	// It must hear the window close, also where the tests run under nohup: a
	// signal that we handle is no longer ignored in what we start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
}

// startDev starts a cluster of two nodes.
func startDev(t *testing.T, name string, options ...devOption) *devRun {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "dev"))
	if err != nil {
		t.Fatal(err)
	}
	d := &devRun{t: t, name: name, log: log.Name(), done: make(chan struct{})}
	d.cmd = exec.Command(cluster.Bin("schedctl"), "dev", "--name", name, "--nodes", "2")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, option := range options {
		option(d)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if d.tty != nil {
		d.cmd.Stdin.(*os.File).Close()
		go func() { _, _ = io.Copy(log, d.tty) }() // until it is closed
	} else {
		log.Close()
	}
	go func() { defer close(d.done); _ = d.cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("schedctl dev --name %s said:\n%s", name, d.output())
		}
		d.signal(syscall.SIGTERM)
		<-d.done
	})
	return d
}

func (d *devRun) output() string {
	text, err := os.ReadFile(d.log)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// says waits until it has printed the text.
func (d *devRun) says(text string) {
	d.t.Helper()
	var ended time.Time
	cluster.Eventually(d.t, time.Minute, "schedctl dev says "+text, func() error {
		said := d.output()
		if strings.Contains(said, text) {
			return nil
		}
		select {
		case <-d.done:
			if ended.IsZero() {
				ended = time.Now()
			}
			if time.Since(ended) > 2*time.Second { // what a terminal shows may lag behind
				d.t.Fatalf("it ended before it said %q: %v\n%s", text, d.cmd.ProcessState, said)
			}
		default:
		}
		return fmt.Errorf("so far:\n%s", said)
	})
}

func (d *devRun) signal(s syscall.Signal) { _ = d.cmd.Process.Signal(s) } // it may have ended

// ends waits for its end, and wants the exit code.
func (d *devRun) ends(code int) {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		d.t.Fatal("it does not end")
	}
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("exit code %d, not %d: %v", got, code, d.cmd.ProcessState)
	}
}

// janitor is the process that cleans up after it.
func (d *devRun) janitor() int {
	d.t.Helper()
	for _, p := range processes() {
		pid, argv, _ := strings.Cut(p, " ")
		if strings.Contains(argv, "dev-janitor "+d.name+" ") {
			n, err := strconv.Atoi(pid)
			if err != nil {
				d.t.Fatal(err)
			}
			return n
		}
	}
	d.t.Fatal("it has no janitor")
	return 0
}

// schedctl runs it on this cluster, and wants exit code 0.
func (d *devRun) schedctl(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(cluster.Bin("schedctl"), append([]string{"--endpoint", "ipc:///run/longshore-dev/" + d.name + "/broadcaster.sock"}, args...)...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("schedctl %v: %v\n%s%s", args, err, &out, &problem)
	}
	return out.String()
}

// file writes an app of so many replicas with a published port.
func (d *devRun) file(app string, replicas, port int) string {
	d.t.Helper()
	path := filepath.Join(d.t.TempDir(), app+".yaml")
	if err := os.WriteFile(path, []byte("name: "+app+"\nservices:"+service("web", replicas, port, app, app+" of "+d.name)), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// run runs an app on it, which must answer.
func (d *devRun) run(app string, replicas, port int) {
	d.t.Helper()
	d.schedctl("image", "push", "hello:latest", "--binary", cluster.Bin("hello"))
	d.schedctl("submit", d.file(app, replicas, port))
	d.answers(app, replicas, port)
}

func (d *devRun) answers(app string, replicas, port int) {
	d.t.Helper()
	running := 0
	for line := range strings.Lines(d.schedctl("ps", app, "--json")) {
		var s placement.Status
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			d.t.Fatalf("%v: %s", err, line)
		}
		if s.State == placement.Running {
			running++
			answers(d.t, fmt.Sprintf("http://%s:%d/", s.Address, port), app+" of "+d.name)
		}
	}
	if running != replicas {
		d.t.Fatalf("%d replicas of %s run, not %d", running, app, replicas)
	}
}
