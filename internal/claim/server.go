package claim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"longshore/internal/placement"
)

// ErrNoServer says that this machine has no redis-server to start.
var ErrNoServer = errors.New("no redis-server found in PATH")

const (
	maxSocketPath = 104                    // bytes; the kernel takes 107, less three to be safe
	pollReady     = 5 * time.Millisecond   // between tries to reach a server that starts
	stopGrace     = 2 * time.Second        // from SIGTERM to SIGKILL
	firstRestart  = 100 * time.Millisecond // doubled up to lastRestart while it keeps ending
	lastRestart   = 5 * time.Second
)

// Server is a redis-server of one's own: on a private unix socket, without
// persistence, ending with this process however that ends.
type Server struct {
	binary, dir string
	logger      *slog.Logger

	mu      sync.Mutex
	process *process
}

// StartServer starts a redis-server whose socket (mode 0600) and log lie in
// dir, and returns when it answers. ctx bounds the start alone. The error is
// [ErrNoServer] where there is no binary. Only one may run in a directory.
// A nil logger logs nothing.
func StartServer(ctx context.Context, dir string, logger *slog.Logger) (*Server, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", ErrNoServer)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{binary: binary, dir: dir, logger: logger}
	if n := len(s.socket()); n > maxSocketPath {
		return nil, &placement.Error{
			Kind: placement.KindInvalid,
			What: fmt.Sprintf("the directory %s cannot hold the socket of Redis", dir),
			Why:  fmt.Sprintf("the socket's path would have %d bytes, at most %d can be used", n, maxSocketPath),
			Next: "choose a directory with a shorter path",
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) socket() string { return filepath.Join(s.dir, "redis.sock") }
func (s *Server) log() string    { return filepath.Join(s.dir, "redis.log") }

// URL is what a [Config] takes to reach the server.
func (s *Server) URL() string { return "unix://" + s.socket() }

// PID is the process ID of the server, which changes when it is restarted.
func (s *Server) PID() int { return s.current().pid }

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Run starts the server again whenever it ends, until ctx ends; then it stops
// it and returns nil.
func (s *Server) Run(ctx context.Context) error {
	wait := firstRestart
	for {
		began := time.Now()
		select {
		case <-ctx.Done():
			return s.Close()
		case <-s.current().done:
		}
		if time.Since(began) > lastRestart {
			wait = firstRestart
		}
		s.logger.Warn("redis-server ended, starting it again", "wait", wait)
		if !pause(ctx, wait) {
			return s.Close()
		}
		wait = min(2*wait, lastRestart)
		if err := s.start(ctx); err != nil && ctx.Err() == nil {
			s.logger.Error("redis-server does not start", "err", err)
		}
	}
}

// Close stops the server and waits for its end. Closing twice does nothing.
// Where Run is used, end its context instead.
func (s *Server) Close() error {
	s.current().stop()
	return nil
}

// start starts a process and waits until it answers.
func (s *Server) start(ctx context.Context) error {
	p, err := startProcess(exec.CommandContext(context.WithoutCancel(ctx), s.binary,
		"--port", "0", "--unixsocket", s.socket(), "--unixsocketperm", "600",
		"--save", "", "--appendonly", "no", "--databases", "1", "--daemonize", "no",
		"--dir", s.dir, "--logfile", s.log()))
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	for !answers(ctx, s.socket()) {
		select {
		case <-p.done:
			return fmt.Errorf("start redis-server: it ended at once: %s", lastLine(s.log()))
		default:
		}
		if !pause(ctx, pollReady) {
			p.stop()
			return fmt.Errorf("start redis-server: %w", ctx.Err())
		}
	}
	return nil
}

// answers tells whether a server answers PING at the socket.
func answers(ctx context.Context, socket string) bool {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(dialTimeout)) != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "+PONG\r\n"
}

// pause waits for d; it tells whether ctx lasted so long.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "it left no log"
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return strconv.Quote(string(lines[len(lines)-1]))
}

// process is a child that dies with us.
type process struct {
	pid  int
	ask  func(os.Signal) error
	done chan struct{} // closed when it ended and was reaped
}

// startProcess starts cmd so that the kernel kills it when we die. The kernel
// watches the thread that made the child, so one thread stays with it.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid, p.ask = cmd.Process.Pid, cmd.Process.Signal
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop asks the process to end, then makes it.
func (p *process) stop() {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.ask(signal) // fails only if it has ended
		timer := time.NewTimer(stopGrace)
		select {
		case <-p.done:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
	<-p.done
}
