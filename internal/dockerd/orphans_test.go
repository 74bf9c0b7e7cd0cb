package dockerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longshore/internal/placement"
)

// TestContainerThatItsDaemonForgot: a dockerd that is killed between the start
// of a container and its note of that neither lists nor ends it, and can never
// start it again. The next one is not left with it; what it does know goes on.
func TestContainerThatItsDaemonForgot(t *testing.T) {
	m := newMirror(t)
	n := newNode(t, m.mirrored)
	image := m.image(t, "alice/hello", 0)
	forgotten, known := id("alice", "forgotten"), id("alice", "known")
	n.launch(n.spec(forgotten, image))
	n.launch(withOwnNet(n.spec(known, image))) // both listen on one port
	lost, kept := n.containerPID("alice", forgotten.ContainerName()), n.containerPID("alice", known.ContainerName())
	n.stop()
	daemon := n.daemonPID("alice")
	n.kill(daemon)
	n.eventually("dockerd is dead", func() bool { b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", daemon)); return len(b) == 0 })
	_, root, _, _, _, _ := n.cfg.Places("alice")
	n.forget(root, forgotten)

	n.host, n.stop = n.run()
	n.ok(n.host.Ensure(n.ctx(), "alice"))
	if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", lost)); len(b) > 0 {
		t.Errorf("process %d of the forgotten container still runs", lost)
	}
	if now := n.containerPID("alice", known.ContainerName()); now != kept {
		t.Errorf("the known container was %d, is %d", kept, now)
	}
	n.ok(n.host.Start(n.ctx(), "alice", forgotten))
	n.expect(forgotten, placement.CopyRunning, 0)
	n.expect(known, placement.CopyRunning, 0)
}

// forget makes the daemon's record say that the container never started.
func (n *node) forget(root string, id placement.ID) {
	n.t.Helper()
	records, err := filepath.Glob(filepath.Join(root, "containers/*/config.v2.json"))
	n.ok(err)
	for _, record := range records {
		b, err := os.ReadFile(record)
		n.ok(err)
		if !strings.Contains(string(b), `"Name":"/`+id.ContainerName()+`"`) {
			continue
		}
		was := strings.Replace(string(b), `"Running":true`, `"Running":false`, 1)
		if was == string(b) {
			n.t.Fatalf("the record does not say that it runs: %s", b)
		}
		n.ok(os.WriteFile(record, []byte(was), 0o600))
		return
	}
	n.t.Fatalf("no record of %s in %q", id, records)
}
