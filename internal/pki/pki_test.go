package pki_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/pki"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func authority(t *testing.T, cluster string) (*pki.Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := pki.CreateAuthority(dir, cluster)
	must(t, err)
	return a, dir
}

func issue(t *testing.T, a *pki.Authority, who string, life time.Duration, hosts ...string) string {
	t.Helper()
	id, err := pki.Parse(a.Cluster, who)
	must(t, err)
	dir := filepath.Join(t.TempDir(), strings.ReplaceAll(who, "/", "-"))
	must(t, a.IssueTo(dir, id, hosts, life))
	return dir
}

func open(t *testing.T, dir string) *pki.Store {
	t.Helper()
	s, err := pki.Open(dir)
	must(t, err)
	return s
}

// meet shakes hands and returns what both ends say: the client's error, from
// its first read, and the server's.
func meet(t *testing.T, server, client *pki.Store) (of, to error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	sc, err := server.Config()
	must(t, err)
	cc, err := client.Config()
	must(t, err)
	ends := make(chan error, 1)
	go func() {
		s := tls.Server(far, sc)
		err := s.HandshakeContext(t.Context())
		if err == nil {
			_, err = s.Write([]byte{1})
		} else {
			far.Close()
		}
		ends <- err
	}()
	c := tls.Client(near, cc)
	if of = c.HandshakeContext(t.Context()); of == nil {
		_, of = c.Read(make([]byte, 1))
	} else {
		near.Close()
	}
	return of, <-ends
}

// told tells whether the explanation of err says so.
func told(err error, what string) bool {
	e := pki.Explain(err)
	return e != nil && strings.Contains(e.What, what)
}

func TestIssue(t *testing.T) {
	t.Parallel()
	a, caDir := authority(t, "c1")
	dir := issue(t, a, "broadcaster/b1", pki.LeafLife, "192.0.2.7", "b1.example.org")
	for path, mode := range map[string]fs.FileMode{
		filepath.Join(caDir, pki.AuthorityKeyFile): 0o600,
		filepath.Join(dir, pki.KeyFile):            0o600,
		filepath.Join(dir, pki.CertFile):           0o644,
		filepath.Join(dir, pki.AuthorityFile):      0o644,
	} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	cert, err := pki.Certificate(dir)
	must(t, err)
	id, err := pki.Of(cert)
	if err != nil || id != (pki.Identity{Cluster: "c1", Role: "broadcaster", Name: "b1"}) {
		t.Errorf("it is of %+v, %v", id, err)
	}
	for _, host := range []string{"192.0.2.7", "b1.example.org", "broadcaster.c1.longshore"} {
		must(t, cert.VerifyHostname(host))
	}
	if days := time.Until(cert.NotAfter).Hours() / 24; days < 89.9 || days > 90 {
		t.Errorf("it lives %.1f days", days)
	}
	if err := a.IssueTo(dir, id, nil, time.Hour); err == nil || !strings.Contains(err.Error(), "schedctl ca renew") {
		t.Errorf("a key was replaced: %v", err)
	}
	if _, err := pki.CreateAuthority(caDir, "c2"); err == nil {
		t.Error("an authority was replaced")
	}
	again, err := pki.OpenAuthority(caDir)
	if err != nil || again.Cluster != "c1" {
		t.Errorf("opened again: %+v, %v", again, err)
	}
	if _, err := pki.OpenAuthority(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without an authority's key: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "agent", "agent/", "/n7", "root/n7", "agent/n7/x", "agent/a b", "ca/1"} {
		if id, err := pki.Parse("c1", s); err == nil {
			t.Errorf("%q is %+v", s, id)
		}
	}
}

// TestHandshakes: who gets in where.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	a, _ := authority(t, "c1")
	other, _ := authority(t, "c1")
	caster := open(t, issue(t, a, "broadcaster/b1", time.Hour))
	agent := open(t, issue(t, a, "agent/n7", time.Hour))
	if of, to := meet(t, caster, agent); of != nil || to != nil {
		t.Errorf("an agent: %v, %v", of, to)
	}
	if of, to := meet(t, caster, open(t, issue(t, a, "user/alice", time.Hour))); of != nil || to != nil {
		t.Errorf("a user: %v, %v", of, to)
	}
	if of, to := meet(t, caster, open(t, issue(t, other, "agent/n7", time.Hour))); to == nil || !told(of, "of another authority") {
		t.Errorf("another authority's agent: %v, %v", of, to)
	}
	if of, _ := meet(t, agent, open(t, issue(t, a, "agent/n8", time.Hour))); !told(of, "agent/n7, no broadcaster") {
		t.Errorf("an agent plays the broadcaster: %v", of)
	}
}

// TestEnded: what a certificate that has ended says, at both ends.
func TestEnded(t *testing.T) {
	t.Parallel()
	a, _ := authority(t, "c1")
	caster := open(t, issue(t, a, "broadcaster/b1", time.Hour))
	agent := open(t, issue(t, a, "agent/n7", time.Nanosecond))
	date := agent.Leaf().NotAfter.Local().Format(time.DateTime)
	of, _ := meet(t, caster, agent)
	if !told(of, date) || !strings.Contains(pki.Explain(of).Next, "schedctl ca renew "+agent.Dir()) {
		t.Errorf("the client's has ended: %v", of)
	}
	late := open(t, issue(t, a, "broadcaster/b2", time.Nanosecond))
	if of, _ = meet(t, late, caster); !told(of, "broadcaster/b2 has ended on "+late.Leaf().NotAfter.Local().Format(time.DateTime)) {
		t.Errorf("the server's has ended: %v", of)
	}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	a, _ := authority(t, "c1")
	b, _ := authority(t, "c2")
	s := open(t, issue(t, a, "broadcaster/b1", time.Hour))
	role, name, err := s.Subject(open(t, issue(t, a, "user/alice", time.Hour)).Leaf())
	if err != nil || role != "user" || name != "alice" {
		t.Errorf("%s/%s, %v", role, name, err)
	}
	if _, _, err = s.Subject(open(t, issue(t, b, "agent/n7", time.Hour)).Leaf()); err == nil {
		t.Error("another cluster's agent is one of ours")
	}
	if _, _, err = s.Subject(&x509.Certificate{}); err == nil {
		t.Error("a certificate without a name has one")
	}
}

// TestRenewalIsTaken: a store serves the renewed certificate, and keeps what
// it has when the files are nonsense.
func TestRenewalIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := authority(t, "c1")
		dir, other := issue(t, a, "agent/n7", time.Hour), issue(t, a, "agent/n8", 2*time.Hour)
		s := open(t, dir)
		first := s.Leaf()
		time.Sleep(10 * time.Minute)
		renewed, err := a.Renew(first)
		must(t, err)
		stolen, err := os.ReadFile(filepath.Join(other, pki.CertFile))
		must(t, err)
		if err := pki.ReplaceCertificate(dir, stolen); err == nil {
			t.Error("another's certificate is taken for a renewed one")
		}
		must(t, pki.ReplaceCertificate(dir, renewed))
		time.Sleep(time.Minute)
		second := s.Leaf()
		if left := time.Until(second.NotAfter); left < 58*time.Minute || left > time.Hour {
			t.Errorf("it lives %v now", left)
		}
		must(t, os.WriteFile(filepath.Join(dir, pki.CertFile), []byte("nonsense"), 0o600))
		time.Sleep(time.Minute)
		if got := s.Leaf(); got != second {
			t.Error("nonsense is taken")
		}
	})
}

// TestRenewer: it renews at two thirds of the life, and raises an alarm when
// nobody renews it until five sixths.
func TestRenewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := authority(t, "c1")
		s := open(t, issue(t, a, "agent/n7", 90*24*time.Hour))
		first := s.Leaf()
		var mended atomic.Bool
		var asked atomic.Int32
		r := &pki.Renewer{Store: s, Logger: slog.New(slog.DiscardHandler), Ask: func(context.Context) ([]byte, error) {
			asked.Add(1)
			if !mended.Load() {
				return nil, errors.New("nobody has the key")
			}
			return a.Renew(s.Leaf())
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(59 * 24 * time.Hour)
		if asked.Load() > 0 {
			t.Error("it renews too early")
		}
		time.Sleep(2 * 24 * time.Hour)
		if asked.Load() == 0 || r.Alarm() != "" {
			t.Errorf("asked %d times, alarm %q", asked.Load(), r.Alarm())
		}
		time.Sleep(15 * 24 * time.Hour)
		if got := r.Alarm(); !strings.Contains(got, "agent/n7 ends on "+first.NotAfter.Local().Format(time.DateTime)) {
			t.Errorf("alarm %q", got)
		}
		mended.Store(true)
		time.Sleep(2 * time.Hour)
		if got := s.Leaf(); r.Alarm() != "" || time.Until(got.NotAfter) < 89*24*time.Hour {
			t.Errorf("alarm %q, ends %v", r.Alarm(), got.NotAfter)
		}
		cancel()
		must(t, <-done)
	})
}

func TestRenewOnlyItsOwn(t *testing.T) {
	t.Parallel()
	a, _ := authority(t, "c1")
	b, _ := authority(t, "c1")
	if _, err := b.Renew(open(t, issue(t, a, "operator/eve", time.Hour)).Leaf()); err == nil {
		t.Error("an authority renews what another has signed")
	}
}
