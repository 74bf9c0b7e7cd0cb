package claim_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"longshore/internal/claim"
	"longshore/internal/placement"
)

func TestNoServerHere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := claim.StartServer(t.Context(), t.TempDir(), nil); !errors.Is(err, claim.ErrNoServer) {
		t.Errorf("got %v, want ErrNoServer", err)
	}
}

func TestServerDirectory(t *testing.T) {
	long := "/tmp/" + strings.Repeat("x", 100)
	var problem *placement.Error
	if _, err := claim.StartServer(t.Context(), long, nil); !errors.As(err, &problem) || problem.Kind != placement.KindInvalid {
		t.Errorf("got %v for a long path, want Invalid", err)
	}
	dir := shortDir(t)
	first, err := claim.StartServer(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	info, err := os.Stat(strings.TrimPrefix(first.URL(), "unix://"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}

func TestServerIsKept(t *testing.T) {
	server, err := claim.StartServer(t.Context(), shortDir(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	r := open(t, server.URL(), "c1", time.Minute)
	for range 2 {
		old := server.PID()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "a new process", func() bool { return server.PID() != old })
		eventually(t, r, "n1")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !gone(server.PID()) {
		t.Error("the server outlived Run")
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

// A process that is killed takes its server along.
func TestServerEndsWithItsOwner(t *testing.T) {
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerDir+"="+shortDir(t))
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if gone(pid) {
		t.Fatal("no server")
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // killed
	until(t, "the end of the server", func() bool { return gone(pid) })
}

const ownerDir = "CLAIM_TEST_OWNER_DIR"

// runOwner is the process of [TestServerEndsWithItsOwner]: it starts a server,
// tells its process ID and waits to be killed.
func runOwner() {
	dir := os.Getenv(ownerDir)
	if dir == "" {
		return
	}
	server, err := claim.StartServer(context.Background(), dir, nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(server.PID())
	select {}
}

// gone tells whether a process has ended, reaped or not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("no %s in time", what)
		case <-tick.C:
		}
	}
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
