package rpc_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"longshore/rpc"
)

// TestNoDescriptors: a listener whose process has no file descriptors left
// tries again later and later, and serves when there are some.
func TestNoDescriptors(t *testing.T) {
	if os.Getenv("RPC_TEST_STARVED") != "" {
		starved(t)
		return
	}
	cmd := exec.CommandContext(within(t), os.Args[0], "-test.run=^TestNoDescriptors$")
	cmd.Env = append(os.Environ(), "RPC_TEST_STARVED=1")
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	began := time.Now()
	lines := bufio.NewScanner(stdout)
	said := func() string {
		if !lines.Scan() {
			t.Fatalf("it ended: %v", lines.Err())
		}
		return lines.Text()
	}
	at := said()
	var all []net.Conn
	for range 40 {
		all = append(all, raw(t, at))
	}
	failures := 0
	for failures < 6 { // 5, 10, 20, 40, 80 ms
		if line := said(); strings.Contains(line, "accept failed") && strings.Contains(line, "too many open files") {
			failures++
		}
	}
	for _, c := range all {
		_ = c.Close()
	}
	eventually(t, "it serves again", func() bool {
		l, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{}), at, rpc.Config{})
		if err != nil {
			return false
		}
		defer l.Wait()
		defer l.Close()
		return l.Call(within(t), "add", nil, 1, 2) == nil
	})
	_ = stdin.Close()
	for lines.Scan() {
		if strings.Contains(lines.Text(), "accept failed") {
			failures++
		}
	}
	must(t, cmd.Wait())
	if most := 10 + 4*int(time.Since(began)/time.Second); failures > most {
		t.Errorf("%d failed accepts in %v", failures, time.Since(began))
	}
}

// starved serves with eight file descriptors more than it has, until its
// standard input ends.
func starved(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l, err := rpc.ZMQ(rpc.ZMQOptions{Handshake: time.Hour, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))}).Listen(ctx, "tcp://127.0.0.1:0")
	must(t, err)
	open, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	few := uint64(len(open) + 8)
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: few, Max: few}))
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	fmt.Println(l.Addr())
	must(t, rpc.Serve(ctx, l, rpc.Config{Methods: house()}))
}
