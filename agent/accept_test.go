package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"longshore/agent"
)

func TestAcceptLeavesTheFormerCluster(t *testing.T) {
	dir := t.TempDir()
	if err := agent.Accept(dir, "c2"); err != nil {
		t.Errorf("a node that serves none: %v", err)
	}
	const pinned = `{"v":1,"cluster":"c1","node":"n1","mark":{"gen":3,"start":9,"rev":7}}`
	for _, name := range []string{"cluster", "mark"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(pinned), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := agent.Accept(dir, "c1"); err != nil {
		t.Fatal(err)
	}
	if served, err := agent.Pinned(dir); err != nil || served != "c1" {
		t.Errorf("accepting its own cluster left it with %q, %v", served, err)
	}
	for range 2 { // twice is no error
		if err := agent.Accept(dir, "c2"); err != nil {
			t.Fatal(err)
		}
	}
	if served, err := agent.Pinned(dir); err != nil || served != "" {
		t.Errorf("it serves %q still, %v", served, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v: the mark of another history would prove a rollback", left, err)
	}
}
