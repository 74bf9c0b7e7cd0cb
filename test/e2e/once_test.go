package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"longshore/agent/console"
	"longshore/rpc"
	"longshore/test/cluster"
)

// keyed is a command that serves for half a minute, if it is let, and that can
// be told among the machine's processes.
func keyed(key string) console.Command {
	return console.Command{Container: web, Argv: []string{"/hello"}, Env: []string{"PORT=0", "ONCE=" + key}, Timeout: 30_000, Key: key}
}

// processesOf counts the processes that run the command of a key.
func processesOf(t *testing.T, key string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte("ONCE="+key+"\x00")) {
			n++
		}
	}
	return n
}

// execAndKill runs one command to its end, begins another, and kills the agent
// in the midst of it. What the next agent must know is checked by the function
// that it returns.
func (s socket) execAndKill(n *cluster.Node) func(next socket) {
	s.t.Helper()
	done, cut := fmt.Sprintf("done-%d", os.Getpid()), fmt.Sprintf("cut-%d", os.Getpid())
	short := keyed(done)
	short.Timeout = 500
	var first console.Result
	s.must("exec", &first, short) // it prints a port that is another each time
	lost := make(chan error, 1)
	go func() { lost <- s.link.Call(s.t.Context(), "exec", nil, keyed(cut)) }()
	cluster.Eventually(s.t, 20*time.Second, "the command runs", func() error {
		if n := processesOf(s.t, cut); n != 1 {
			return fmt.Errorf("%d processes run it", n)
		}
		return nil
	})
	n.Agent.Kill()
	if err := <-lost; err == nil {
		s.t.Error("a killed agent has answered")
	}
	return func(next socket) {
		next.t.Helper()
		var again console.Result
		next.must("exec", &again, short)
		if again != first {
			next.t.Errorf("the command was answered %+v, and after the restart %+v", first, again)
		}
		for range 2 {
			if err := next.call("exec", nil, keyed(cut)); refusedBy(err) != rpc.NameOutcomeUnknown {
				next.t.Errorf("a command in whose midst the agent was killed: %v", err)
			}
		}
		if n := processesOf(next.t, cut); n != 1 {
			next.t.Errorf("%d processes run the command that was begun once", n)
		}
	}
}
