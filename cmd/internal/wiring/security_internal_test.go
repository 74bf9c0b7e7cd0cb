package wiring

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longshore/internal/pki"
	"longshore/internal/placement"
)

func TestSecurityOpens(t *testing.T) {
	t.Parallel()
	a, err := pki.CreateAuthority(filepath.Join(t.TempDir(), "ca"), "c1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "n7")
	if err := a.IssueTo(dir, pki.Identity{Cluster: "c1", Role: placement.RoleAgent, Name: "n7"}, nil, pki.LeafLife); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for name, c := range map[string]struct {
		s    Security
		role string
		want string // in the error; "" is none
	}{
		"no TLS":         {Security{}, placement.RoleAgent, ""},
		"its own":        {Security{TLSDir: dir}, placement.RoleAgent, ""},
		"another's":      {Security{TLSDir: dir}, placement.RoleHostinfo, "is that of agent/n7"},
		"none there":     {Security{TLSDir: t.TempDir()}, placement.RoleAgent, "schedctl ca issue"},
		"no such group":  {Security{SocketGroup: "no-such-group"}, placement.RoleAgent, "there is no group no-such-group"},
		"in clear":       {Security{Insecure: true}, placement.RoleAgent, ""},
		"group of roots": {Security{SocketGroup: "root"}, placement.RoleAgent, ""},
	} {
		err := c.s.Open(c.role, logger)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), "--insecure") {
		t.Errorf("warnings:\n%s", log.String())
	}
}

func TestOneDaemonInADirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	release, err := hold(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold(path); err == nil || !strings.Contains(err.Error(), "another daemon works with") {
		t.Errorf("a second one: %v", err)
	}
	release()
	if release, err = hold(path); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestMakeRunDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	if err := makeRunDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := makeRunDir(dir); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("one that everybody may write to: %v", err)
	}
}

func TestRegistryURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ endpoint, told, want string }{
		{"tls://192.0.2.1:7700", "https://:7701", "https://192.0.2.1:7701"},
		{"tls://[2001:db8::1]:7700", "https://:7701", "https://[2001:db8::1]:7701"},
		{"ipc:///run/longshore/broadcaster.sock", "https://:7701", "https://127.0.0.1:7701"},
		{"tls://192.0.2.1:7700", "https://192.0.2.9:7701", "https://192.0.2.9:7701"},
		{"tcp://127.0.0.1:7700", "http://127.0.0.1:7701", "http://127.0.0.1:7701"},
	} {
		if got := RegistryURL(c.endpoint, c.told); got != c.want {
			t.Errorf("%s told %s: %s, want %s", c.endpoint, c.told, got, c.want)
		}
	}
}
