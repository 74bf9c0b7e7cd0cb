package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"longshore/internal/dockerd"
)

// TestInstall: make install puts programs and units where the units look for
// them, and systemd has nothing to say about the units.
func TestInstall(t *testing.T) {
	root := t.TempDir()
	cmd := exec.Command("make", "-C", "../..", "install", "DESTDIR="+root)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	for path, mode := range map[string]os.FileMode{
		"usr/local/bin/schedctl":                            0o755,
		"usr/local/bin/broadcasterd":                        0o755,
		"usr/local/bin/agentd":                              0o755,
		"usr/local/bin/hostinfod":                           0o755,
		"usr/local/lib/longshore/longshore-pause":           0o755, // the default of agentd --pause
		"etc/systemd/system/longshore-broadcasterd.service": 0o644,
		"etc/systemd/system/longshore-agentd.service":       0o644,
		"etc/systemd/system/longshore-hostinfod.service":    0o644,
		"etc/systemd/system/longshore-dockerd@.service":     0o644,
	} {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Error(err)
		} else if info.Mode() != mode {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	verifyUnits(t, root)
	template, err := os.ReadFile(filepath.Join(root, "etc/systemd/system/longshore-dockerd@.service"))
	if err != nil || string(template) != dockerd.UnitFile {
		t.Errorf("the template unit is not the one that agentd was built with: %v", err)
	}
}

// verifyUnits lets systemd look at the units, with their programs where this
// test installed them.
func verifyUnits(t *testing.T, root string) {
	t.Helper()
	dir := t.TempDir()
	units, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*"))
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/`)
	args := []string{"verify", "--man=no"}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		moved := start.ReplaceAllString(string(text), "ExecStart="+root+"/usr/local/")
		name := strings.Replace(filepath.Base(unit), "@.", "@example.", 1)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(unit)), []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(dir, name))
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
	}
}
