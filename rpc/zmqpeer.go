package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Roles of those who dial a unix socket, by what the kernel says about them.
const (
	RoleOperator = "operator" // root, the user of this process, members of the socket's group
	RoleUser     = "user"     // anyone else, where the socket's mode lets others in
)

// errIdentity is the root of what is wrong with who a peer says it is.
var errIdentity = errors.New("refused identity")

// identify tells who the peer behind a finished handshake is. The ZMTP
// identity that it states must agree with its certificate.
func (t *zmqTransport) identify(conn net.Conn, peer *Peer, stated string, dialled bool) error {
	peer.Name = stated
	secure, ok := conn.(*tls.Conn)
	if !ok {
		if peer.UID >= 0 && !dialled {
			peer.Role, peer.Subject = t.local(peer.UID)
		}
		return nil
	}
	chain := secure.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return nil
	}
	peer.Certificate = chain[0]
	if t.opts.Subject == nil {
		return nil
	}
	role, subject, err := t.opts.Subject(chain[0])
	if err != nil {
		return fmt.Errorf("%w: %w", errIdentity, err)
	}
	if stated != "" && stated != subject {
		return fmt.Errorf("%w: it calls itself %.64q, and its certificate is %s/%s", errIdentity, stated, role, subject)
	}
	peer.Role, peer.Subject = role, subject
	return nil
}

// local is the role and the login name of a user of this machine. A socket
// that is closed to others has let in members of its group alone, as the
// kernel knows them; of an open one the user database says who is a member. A
// database that knows no name leaves the number.
func (t *zmqTransport) local(uid int) (role, login string) {
	role, login = RoleUser, strconv.Itoa(uid)
	u, err := user.LookupId(login)
	if err == nil {
		login = u.Username
	}
	group := t.opts.SocketGroup
	if group == 0 {
		group = unix.Getgid()
	}
	member := t.opts.SocketMode&0o006 == 0
	if !member && err == nil {
		groups, _ := u.GroupIds() // none that can be told: no member
		member = slices.Contains(append(groups, u.Gid), strconv.Itoa(group))
	}
	if uid == 0 || uid == unix.Getuid() || member {
		role = RoleOperator
	}
	return role, login
}

// peerUID is the user at the other end of a unix socket, as the kernel knows
// it, or -1.
func peerUID(conn net.Conn) int {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	if err := raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	}); err != nil {
		return -1
	}
	return uid
}
