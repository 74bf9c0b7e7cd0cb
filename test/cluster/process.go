package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one program of the cluster, which can be started again and again
// with the same arguments.
type Process struct {
	Name string
	t    testing.TB
	path string
	args []string
	log  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func newProcess(t testing.TB, dir, name, path string, args ...string) *Process {
	return &Process{Name: name, t: t, path: path, args: args, log: filepath.Join(dir, name+".log")}
}

// Another is a second process of the same program, with more arguments. It is
// killed when the test ends.
func (p *Process) Another(name string, more ...string) *Process {
	other := newProcess(p.t, filepath.Dir(p.log), p.Name+"-"+name, p.path, append(slices.Clone(p.args), more...)...)
	p.t.Cleanup(other.Kill)
	return other
}

// Start starts the program. It must not be running.
func (p *Process) Start() { p.t.Helper(); p.StartWith() }

// StartWith is Start with more arguments, this time only.
func (p *Process) StartWith(more ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, append(slices.Clone(p.args), more...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is for the test to judge
	}()
}

// Running tells whether the program was started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// PID is that of the last start; 0: never started.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the program with SIGKILL and waits for its end. One that does not
// run is killed already.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Stop ends the program with SIGTERM, after 15 s with SIGKILL.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

func (p *Process) end(sig syscall.Signal) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		p.t.Errorf("%s did not end within 15 s of %v", p.Name, sig)
		_ = cmd.Process.Kill()
		<-done
	}
}

// Signal sends a signal to the running program.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// Tail is the end of what the program wrote.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return fmt.Sprintf("%s:\n%s", p.Name, bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
}
