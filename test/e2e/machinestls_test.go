package e2e_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longshore/internal/pki"
	"longshore/rpc"
	"longshore/test/cluster"
)

// link dials the broadcaster with a certificate of m.dir.
func (m *machines) link(t *testing.T, who string) *rpc.Link {
	t.Helper()
	store, err := pki.Open(m.path(who))
	if err != nil {
		t.Fatal(err)
	}
	link, err := rpc.Dial(t.Context(), rpc.ZMQ(rpc.ZMQOptions{TLS: store.Config, Subject: store.Subject}), endpoint, rpc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	return link
}

// testStrangers: without a certificate of this cluster nobody gets in, to the
// broadcaster or to the images.
func (m *machines) testStrangers(t *testing.T) {
	m.t = t
	id, err := pki.Certificate(m.path("b1"))
	if err != nil {
		t.Fatal(err)
	}
	of, err := pki.Of(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.CreateAuthority(m.path("other"), of.Cluster); err != nil {
		t.Fatal(err)
	}
	m.issue("other", "operator/eve", "eve")
	m.refused("of another authority", "eve", "ps")
	ours, err := os.ReadFile(m.path("ca/ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path("eve/ca.pem"), ours, 0o600); err != nil { // it trusts us; we do not trust it
		t.Fatal(err)
	}
	m.refused("does not know the authority of our certificate", "eve", "ps")
	m.refused("in clear only loopback may be used", "eve", "--endpoint", "tcp://"+centre+":7700", "ps")
	for _, port := range []string{":7700", ":7701"} {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}).DialContext(t.Context(), "tcp", centre+port)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("port %s without a certificate: %v", port, err)
		}
	}
}

// testRevoked: a word at the authority closes live links and lets in nobody by
// what is revoked; it stops no container, and another certificate is good.
func (m *machines) testRevoked(t *testing.T) {
	m.t = t
	bob := m.link(t, "bob")
	for _, who := range []string{"user/bob", "agent/n3"} {
		if out, code := m.schedctl("m1", "ops", "ca", "revoke", who, "--ca-dir", m.path("ca")); code != 0 {
			t.Fatalf("schedctl ca revoke %s: %s", who, out)
		}
	}
	select {
	case <-bob.Done():
	case <-time.After(10 * time.Second):
		t.Error("bob's link lives on")
	}
	m.refused("it may be revoked", "bob", "ps")
	m.refused("is revoked", "bob", "ca", "renew", m.path("bob"), "--ca-dir", m.path("ca"))
	agents := func(want int) {
		t.Helper()
		cluster.Eventually(t, 30*time.Second, fmt.Sprintf("%d agents are connected", want), func() error {
			if text, _ := m.schedctl("m2", "ops", "--json", "node", "ls"); strings.Count(text, `"agent":true`) != want {
				return fmt.Errorf("%s", text)
			}
			return nil
		})
	}
	agents(2)
	cluster.Eventually(t, 20*time.Second, "the agent of n3 says why it has no link", func() error {
		log, err := os.ReadFile(filepath.Join(m.dir, "m3-agentd.log"))
		if !strings.Contains(string(log), "bad certificate") {
			return fmt.Errorf("it does not: %w", err)
		}
		return nil
	})
	if err := m.answers(); err != nil {
		t.Errorf("a certificate that is revoked stopped a container: %v", err)
	}
	m.issue("ca", "agent/n3", "agent-n3.new")
	for _, file := range []string{pki.KeyFile, pki.CertFile} {
		if err := os.Rename(m.path("agent-n3.new/"+file), m.path("agent-n3/"+file)); err != nil {
			t.Fatal(err)
		}
	}
	agents(3)
	if err := m.answers(); err != nil {
		t.Error(err)
	}
}

// testRenewal: the agent of n2 renews its certificate by itself, and new links
// use it: the old one has ended when they are made.
func (m *machines) testRenewal(end func()) (next func()) {
	first, err := pki.Certificate(m.path("agent-n2"))
	if err != nil {
		m.t.Fatal(err)
	}
	cluster.Eventually(m.t, 2*shortLife, "the agent of n2 renews its certificate, and the first ends", func() error {
		now, err := pki.Certificate(m.path("agent-n2"))
		if err != nil || now.SerialNumber.Cmp(first.SerialNumber) == 0 || time.Now().Before(first.NotAfter) {
			return fmt.Errorf("first ends %v, now %v, %w", first.NotAfter, time.Now(), err)
		}
		return nil
	})
	end()
	next = m.broadcaster(m.path("none")) // from now on nothing is renewed
	m.ready()
	return next
}

// testEnd: a certificate that has ended ends links and no container, and one
// that was renewed by hand is taken without a restart.
func (m *machines) testEnd(end func()) {
	cluster.Eventually(m.t, 2*shortLife, "the certificate of n2's agent ends", func() error {
		cert, err := pki.Certificate(m.path("agent-n2"))
		if err != nil || time.Now().Before(cert.NotAfter) {
			return fmt.Errorf("%w, or not yet", err)
		}
		return nil
	})
	end()
	m.broadcaster(m.path("none"))
	cluster.Eventually(m.t, 30*time.Second, "the agent of n2 says why it has no link", func() error {
		log, err := os.ReadFile(filepath.Join(m.dir, "m2-agentd.log"))
		if err != nil || !strings.Contains(string(log), "the certificate of agent/n2 has ended on") {
			return fmt.Errorf("it does not: %w", err)
		}
		return nil
	})
	cluster.Eventually(m.t, 30*time.Second, "the others are ready", func() error {
		if text, _ := m.schedctl("m3", "ops", "node", "ls"); strings.Count(text, " ready ") < 2 {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	if err := m.answers(); err != nil {
		m.t.Errorf("a certificate that ended stopped a container: %v", err)
	}
	if text := m.must("alice", "--json", "ps"); strings.Count(text, `"RUNNING"`) != 3 {
		m.t.Errorf("alice's copies:\n%s", text)
	}
	text, code := m.schedctl("m2", "ops", "ca", "renew", m.path("agent-n2"), "--ca-dir", m.path("ca"))
	if code != 0 {
		m.t.Fatalf("schedctl ca renew: %s", text)
	}
	m.ready()
	if err := m.answers(); err != nil {
		m.t.Error(err)
	}
}
