package rpc_test

import (
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
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

// knock is a stock peer's handshake on a unix socket, and then it waits for
// its standard input to end. perl is on every Debian.
const knock = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => shift) or exit 13; binmode $s;
syswrite $s, "\xff" . "\0" x 8 . "\x7f\x03\0" . pack("a20", "NULL") . "\0" x 32 . "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER"; <STDIN>`

// TestSocketKnowsItsUsers: a socket lets in root and its group, and knows them;
// one that is open to all knows others for what they are.
func TestSocketKnowsItsUsers(t *testing.T) {
	t.Parallel()
	const nobody, adm = 65534, 4
	for name, c := range map[string]struct {
		mode   os.FileMode
		groups []uint32
		want   string // role; "" is kept out
	}{
		"a stranger":                 {0o660, nil, ""},
		"a member of its group":      {0o660, []uint32{adm}, rpc.RoleOperator},
		"a stranger where all may":   {0o666, nil, rpc.RoleUser},
		"no member by the user's db": {0o666, []uint32{adm}, rpc.RoleUser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := socketPath(t)
			must(t, os.Chmod(filepath.Dir(path), 0o755))
			l, err := rpc.ZMQ(rpc.ZMQOptions{SocketGroup: adm, SocketMode: c.mode}).Listen(within(t), "ipc://"+path)
			must(t, err)
			defer l.Close()
			cmd := exec.CommandContext(within(t), "perl", "-e", knock, path)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: c.groups}}
			in, err := cmd.StdinPipe()
			must(t, err)
			must(t, cmd.Start())
			if c.want == "" {
				var exit *exec.ExitError
				if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 13 {
					t.Errorf("it got in: %v", err)
				}
				return
			}
			conn, err := l.Accept(within(t))
			must(t, err)
			if p := conn.Peer(); p.Role != c.want || p.Subject != "nobody" || p.UID != nobody {
				t.Errorf("it is %+v", p)
			}
			must(t, conn.Close())
			must(t, in.Close())
			must(t, cmd.Wait())
		})
	}
}
