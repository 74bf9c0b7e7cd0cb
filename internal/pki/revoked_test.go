package pki_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longshore/internal/pki"
)

func certificate(t *testing.T, dir string) (serial string) {
	t.Helper()
	cert, err := pki.Certificate(dir)
	must(t, err)
	return cert.SerialNumber.Text(16)
}

func revoke(t *testing.T, dir, what string) {
	t.Helper()
	_, err := pki.Revoke(dir, what)
	must(t, err)
}

// TestRevoked: who is on the list is not let in and gets no other certificate,
// until an operator issues one.
func TestRevoked(t *testing.T) {
	t.Parallel()
	a, dir := authority(t, "c1")
	server := open(t, issue(t, a, "broadcaster/b1", time.Hour))
	alice, bob, twin := issue(t, a, "user/alice", time.Hour), issue(t, a, "user/bob", time.Hour), issue(t, a, "user/bob", time.Hour)
	check := func(revoked map[string]bool) {
		t.Helper()
		list, err := pki.ReadRevoked(dir)
		must(t, err)
		server.Refuse(list.Check)
		for who, want := range revoked {
			of, to := meet(t, server, open(t, who))
			if (to != nil) != want || (of != nil) != want {
				t.Errorf("%s is let in: %v, %v", who, of, to)
			}
			if told := pki.Explain(of); want && (told == nil || !strings.Contains(told.What, "it may be revoked")) {
				t.Errorf("%s is told %v", who, of)
			}
			cert, err := pki.Certificate(who)
			must(t, err)
			if _, err := a.Renew(cert); (err != nil) != want {
				t.Errorf("%s is renewed: %v", who, err)
			}
			if _, _, err := server.Subject(cert); (err != nil) != want {
				t.Errorf("%s is known: %v", who, err)
			}
		}
	}
	check(map[string]bool{alice: false, bob: false, twin: false})
	serial := strings.ToUpper(certificate(t, bob))
	revoke(t, dir, serial[:2]+":"+serial[2:])
	check(map[string]bool{alice: false, bob: true, twin: false})
	revoke(t, dir, "user/bob")
	check(map[string]bool{alice: false, bob: true, twin: true})
	again := issue(t, a, "user/bob", time.Hour) // within the same second
	check(map[string]bool{bob: true, twin: true, again: false})
	revoke(t, dir, "user/bob")
	check(map[string]bool{again: true})
	check(map[string]bool{issue(t, a, "user/bob", time.Hour): false})

	// what is issued after a word is good
	must(t, os.WriteFile(filepath.Join(dir, pki.RevokedFile), []byte("user/alice "+time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)+" # she left\n\n# and came back\n"), 0o600))
	check(map[string]bool{alice: false, bob: false, twin: false})

	for _, bad := range []string{"bob", "xyz", "0", "-5", "user/", "admin/bob", "user/a/b"} {
		if line, err := pki.Revoke(dir, bad); err == nil {
			t.Errorf("%q became %q", bad, line)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, pki.RevokedFile), []byte("user/bob\n"), 0o600))
	if _, err := pki.Revoke(dir, "user/alice"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("added to a list that cannot be read: %v", err)
	}
}

// lines are those of a log, as they come.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestWatchRevoked: a change is noticed; one that cannot be read is told,
// and changes nothing.
func TestWatchRevoked(t *testing.T) {
	t.Parallel()
	a, dir := authority(t, "c1")
	cert, err := pki.Certificate(issue(t, a, "agent/n7", time.Hour))
	must(t, err)
	log := make(lines, 10)
	w, err := pki.WatchRevoked(dir, slog.New(slog.NewTextHandler(log, nil)))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	must(t, w.Check(cert))
	changed := w.Changed()
	revoke(t, dir, "agent/n7")
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the list changed, and nobody noticed")
	}
	if w.Check(cert) == nil {
		t.Error("a revoked certificate is good")
	}
	path := filepath.Join(dir, pki.RevokedFile)
	changed = w.Changed()
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte("# nobody\n"), 0o600))
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the list changed again, and nobody noticed")
	}
	must(t, w.Check(cert))
	must(t, os.WriteFile(path, []byte("what is this?"), 0o600))
	select {
	case line := <-log:
		if !strings.Contains(line, "what was revoked before stays revoked") || !strings.Contains(line, "line 1") {
			t.Errorf("the log says %s", line)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a list that cannot be read is not told")
	}
	must(t, w.Check(cert))
	stop()
	must(t, <-ended)
}
