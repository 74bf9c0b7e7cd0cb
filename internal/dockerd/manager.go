package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Manager starts and stops the processes of daemons. Every call is idempotent.
type Manager interface {
	// Start launches the daemon unless it runs, and returns without waiting
	// until it answers. The daemon outlives ctx and this process.
	Start(ctx context.Context, u Unit) error
	// Stop ends the daemon, not its containers, and returns when it is gone.
	Stop(ctx context.Context, u Unit) error
	// Running tells whether the daemon's process lives.
	Running(ctx context.Context, u Unit) (bool, error)
}

// Unit is one daemon as a process.
type Unit struct {
	ID       string   // [a-z0-9], unique on the machine
	Argv     []string // Argv[0] is dockerd
	Log      string   // file to append its output to
	ExecRoot string   // by which its processes are known
}

// Detached is the Manager for machines without systemd: daemons are processes
// in sessions of their own that write to a file. Use one per Host: it reaps
// what it started.
type Detached struct {
	mu       sync.Mutex
	children map[string]int // unit id -> pid, until reaped
}

// Start launches the daemon unless it runs.
func (m *Detached) Start(ctx context.Context, u Unit) error {
	if running, err := m.Running(ctx, u); err != nil || running {
		return err
	}
	// The one before may still be going: it holds its files until it is reaped.
	if err := until(ctx, 10*time.Second, func() (bool, error) { return m.child(u.ID) == 0, nil }); err != nil {
		return fmt.Errorf("start dockerd: wait for the last one's end: %w", err)
	}
	log, err := os.OpenFile(u.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	defer log.Close()
	program := u.Argv[0]
	if _, err := exec.LookPath(program); err != nil && !strings.Contains(program, "/") {
		program = filepath.Join("/usr/sbin", program)
	}
	cmd := exec.Command(program, u.Argv[1:]...) //nolint:noctx // it outlives every context
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.Env = daemonEnv(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	m.mu.Lock()
	if m.children == nil {
		m.children = map[string]int{}
	}
	m.children[u.ID] = cmd.Process.Pid
	m.mu.Unlock()
	if err := cmd.Process.Release(); err != nil { // reaped in child
		return fmt.Errorf("start dockerd: %w", err)
	}
	return m.settled(ctx, u)
}

// settled waits until the child, if there is one, can be known by its
// arguments: between exec and the loading of its program it has none.
func (m *Detached) settled(ctx context.Context, u Unit) error {
	err := until(ctx, 5*time.Second, func() (bool, error) {
		pid := m.child(u.ID)
		return pid == 0 || alive(pid, u.ExecRoot), nil
	})
	if err != nil {
		return fmt.Errorf("wait for exec of dockerd: %w", err)
	}
	return nil
}

// Stop sends SIGTERM, after 10 s SIGKILL, and waits until the daemon and its
// containerd are gone. Shims and containers stay.
func (m *Detached) Stop(ctx context.Context, u Unit) error {
	if err := m.settled(ctx, u); err != nil {
		return err
	}
	err := endProcs(ctx, u.ExecRoot, 10*time.Second, kindDaemon, kindContainerd)
	m.child(u.ID) // reaped
	return err
}

// Running tells whether a dockerd with the unit's exec-root lives. It reaps
// the one that this Manager started if that has ended.
func (m *Detached) Running(_ context.Context, u Unit) (bool, error) {
	m.child(u.ID)
	procs, err := findProcs(u.ExecRoot, kindDaemon)
	return len(procs) > 0, err
}

// child is the process that this Manager started for the unit, 0 if there is
// none that lives. One that ended is reaped.
func (m *Detached) child(id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	pid, ok := m.children[id]
	if !ok {
		return 0
	}
	if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); got == pid || errors.Is(err, syscall.ECHILD) {
		delete(m.children, id)
		return 0
	}
	return pid
}

// systemPath is where dockerd finds containerd, and that runc, also when we
// were started with the short path of an ordinary user.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// daemonEnv is env without what belongs to this process alone: a daemon that
// found the service manager's sockets would speak in our name.
func daemonEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "DOCKER_HOST", "INVOCATION_ID", "JOURNAL_STREAM":
		case "PATH":
			out = append(out, kv+":"+systemPath)
		default:
			out = append(out, kv)
		}
	}
	return out
}

// Systemd is the Manager for machines whose pid 1 is systemd: each daemon is
// an instance of a template unit (see [UnitFile]) whose arguments stand in
// EnvDir/<id>.env.
type Systemd struct {
	Systemctl string // program; "" means "systemctl" in PATH
	EnvDir    string // "" means /run/longshore/dockerd, as in UnitFile
}

// Start writes the instance's arguments and starts it.
func (m Systemd) Start(ctx context.Context, u Unit) error {
	dir := m.EnvDir
	if dir == "" {
		dir = "/run/longshore/dockerd"
	}
	for _, a := range u.Argv {
		if strings.ContainsAny(a, " \t\n\"'\\$") {
			return fmt.Errorf("start dockerd unit: argument %q cannot be passed through a unit", a)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("start dockerd unit: %w", err)
	}
	env := "DOCKERD_ARGS=" + strings.Join(u.Argv[1:], " ") + "\n"
	if err := writeDurable(filepath.Join(dir, u.ID+".env"), env, 0o600); err != nil {
		return fmt.Errorf("start dockerd unit: %w", err)
	}
	_, err := m.systemctl(ctx, "start", u)
	return err
}

// Stop stops the instance.
func (m Systemd) Stop(ctx context.Context, u Unit) error {
	_, err := m.systemctl(ctx, "stop", u)
	return err
}

// Running asks whether the instance is active or on its way.
func (m Systemd) Running(ctx context.Context, u Unit) (bool, error) {
	out, err := m.systemctl(ctx, "show", u, "--property=ActiveState", "--value")
	switch strings.TrimSpace(out) {
	case "active", "activating", "reloading", "deactivating":
		return true, err
	}
	return false, err
}

func (m Systemd) systemctl(ctx context.Context, verb string, u Unit, more ...string) (string, error) {
	program := m.Systemctl
	if program == "" {
		program = "systemctl"
	}
	args := append([]string{verb, "longshore-dockerd@" + u.ID + ".service"}, more...)
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemctl %s %s: %w: %s", verb, u.ID, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
