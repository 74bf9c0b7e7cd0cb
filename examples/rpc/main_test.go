package main_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"longshore/rpc"
)

// foreign calls as stock clients do, with nothing of ours.
const foreign = `
import sys, zmq, msgpack
s = zmq.Context().socket(zmq.DEALER)
s.LINGER, s.RCVTIMEO = 0, 20000
s.connect(sys.argv[1])
def call(name, *args):
    s.send_multipart([b"", msgpack.packb([{"message_id": b"0" * 32, "v": 3}, name, args], use_bin_type=True)])
    empty, event = s.recv_multipart()
    return msgpack.unpackb(event, raw=False)[1:]
print(call("_zerorpc_inspect"))
print(call("sleep", 0.1), call("sleep", 0), call("sleep", -1))
`

const foreignSays = `['OK', [{'name': 'bed', 'methods': {'sleep': {'args': [{'name': 'seconds'}], 'doc': 'Sleep waits, at most an hour, and answers what it was asked for.'}}}]]
['OK', [0.1]] ['OK', [0.0]] ['ERR', ['RemoteError', 'seconds must be from 0 to 3600', None]]
`

// build makes a program of ours.
func build(t *testing.T, from string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "../../scripts/go", "build", "-o", program, from).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// start runs the example and returns where it listens.
func start(t *testing.T) string {
	t.Helper()
	program := build(t, ".")
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "tcp://localhost:0")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("it said %q, %v", line, err)
	}
	return addr
}

func TestExample(t *testing.T) {
	addr, schedctl := start(t), build(t, "../../cmd/schedctl")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	link, err := rpc.Dial(ctx, rpc.ZMQ(rpc.ZMQOptions{}), addr, rpc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Wait()
	defer link.Close()
	var slept float64
	began := time.Now()
	err = link.Call(ctx, "sleep", &slept, 0.2)
	if took := time.Since(began); err != nil || slept != 0.2 || took < 200*time.Millisecond {
		t.Errorf("slept %v in %v, %v", slept, took, err)
	}

	out, err := exec.CommandContext(ctx, schedctl, "rpc", addr, "sleep", "0.1").CombinedOutput()
	if err != nil || string(out) != "0.1\n" {
		t.Errorf("schedctl: %v: %s", err, out)
	}
	out, err = exec.CommandContext(ctx, "/usr/bin/python3", "-c", foreign, addr).CombinedOutput()
	if err != nil || string(out) != foreignSays {
		t.Errorf("%v: %s", err, out)
	}
}
