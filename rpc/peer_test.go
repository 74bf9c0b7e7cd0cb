package rpc_test

import (
	"crypto/x509"
	"errors"
	"os"
	"os/user"
	"strings"
	"testing"

	"longshore/rpc"
)

// TestPeerOfSocket: whoever dials a unix socket is who the kernel says.
func TestPeerOfSocket(t *testing.T) {
	t.Parallel()
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	l, err := tr.Listen(within(t), "ipc://"+socketPath(t))
	must(t, err)
	defer l.Close()
	near, far := pair(t, tr, l, "anything")
	me, err := user.Current()
	must(t, err)
	if p := far.Peer(); p.Role != rpc.RoleOperator || p.Subject != me.Username || p.UID != os.Getuid() {
		t.Errorf("the listening end sees %+v", p)
	}
	if p := near.Peer(); p.Role != "" || p.Subject != "" {
		t.Errorf("the dialling end believes %+v", p)
	}
}

// TestPeerOfCertificate: a role and a name come from the certificate alone.
func TestPeerOfCertificate(t *testing.T) {
	t.Parallel()
	conf := fixed(selfSigned(t))
	tr := rpc.ZMQ(rpc.ZMQOptions{TLS: conf, Subject: func(c *x509.Certificate) (string, string, error) {
		return "agent", c.Subject.CommonName, nil
	}})
	l, err := tr.Listen(within(t), "tls://127.0.0.1:0")
	must(t, err)
	defer l.Close()
	for _, stated := range []string{"", "test"} {
		near, far := pair(t, tr, l, stated)
		for _, p := range []rpc.Peer{near.Peer(), far.Peer()} {
			if p.Role != "agent" || p.Subject != "test" || p.Certificate == nil || p.Certificate.Subject.CommonName != "test" {
				t.Errorf("as %q: %+v", stated, p)
			}
		}
	}
	c, err := tr.Dial(within(t), l.Addr(), "n7") // its certificate says test
	if err == nil {
		if _, err = c.Recv(); err == nil {
			t.Error("an impostor may talk")
		}
		must(t, c.Close())
	}
	refuses := rpc.ZMQ(rpc.ZMQOptions{TLS: conf, Subject: func(*x509.Certificate) (string, string, error) {
		return "", "", errors.New("it names no role")
	}})
	if _, err := refuses.Dial(within(t), l.Addr(), ""); err == nil || !strings.Contains(err.Error(), "it names no role") {
		t.Errorf("a certificate without a role: %v", err)
	}
}
