package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"longshore/test/cluster"
)

// scripts runs the operator's Python script at the daemons' real sockets, and
// once more as somebody whom the sockets' modes keep out.
func scripts(t *testing.T, c *cluster.Cluster, n *cluster.Node) {
	t.Helper()
	agent, caster := filepath.Join(n.RunDir, "agent.sock"), filepath.Join(c.Dir, "broadcaster.sock")
	python := func(uid uint32, args ...string) {
		t.Helper()
		cmd := exec.Command("/usr/bin/python3", append([]string{"-B", "ops.py"}, args...)...)
		cmd.Dir = "../interop/testdata"
		if uid != 0 {
			copied := filepath.Join(c.Dir, "scripts") // who is not root may not be able to read ours
			if out, err := exec.Command("cp", "-r", cmd.Dir, copied).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			cmd.Dir = copied
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		}
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "ok" {
			t.Errorf("ops.py %v: %v\n%s", args, err, out)
		}
	}
	python(0, agent, caster, web, "replicate-1")
	if err := os.Chmod(c.Dir, 0o755); err != nil { // the sockets' own modes are what is tried
		t.Fatal(err)
	}
	python(65534, "refused", agent, caster)
}
