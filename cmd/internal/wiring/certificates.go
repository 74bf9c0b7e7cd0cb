package wiring

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"longshore/internal/images"
	"longshore/internal/pki"
	"longshore/internal/placement"
	"longshore/rpc"
)

// nodes knows which node is given up.
type nodes interface {
	Nodes(ctx context.Context) ([]placement.NodeStatus, error)
}

// issuer renews certificates for those who show theirs.
type issuer struct {
	authority *pki.Authority // nil: its key is not here
	nodes     nodes
	logger    *slog.Logger
}

func (i issuer) methods() rpc.Methods {
	return rpc.Methods{
		"certificate_renew": rpc.Nullary("Sign the certificate that the caller shows once more, for the same key; answers it as PEM.", i.renew),
	}
}

// renew signs what the caller has proven to own: nobody can ask for another's.
// A node that is given up must come back first.
func (i issuer) renew(ctx context.Context, c *rpc.Call) (string, error) {
	if c.Peer.Certificate == nil {
		return "", &placement.Error{Kind: placement.KindInvalid, What: "there is no certificate to renew", Why: "this link has none", Next: "call it on a tls:// address"}
	}
	if i.authority == nil {
		return "", &placement.Error{
			Kind: placement.KindUnavailable, What: fmt.Sprintf("the certificate of %s/%s cannot be renewed here", c.Peer.Role, c.Peer.Subject),
			Why:  "this broadcaster has no authority's key (--ca-dir)",
			Next: "schedctl ca renew DIR, where the key is",
		}
	}
	if err := i.given(ctx, c.Peer); err != nil {
		return "", err
	}
	cert, err := i.authority.Renew(c.Peer.Certificate)
	if err != nil {
		return "", err
	}
	i.logger.Info("renewed a certificate", "identity", c.Peer.Role+"/"+c.Peer.Subject)
	return string(cert), nil
}

// given refuses the processes of a node that is given up.
func (i issuer) given(ctx context.Context, p rpc.Peer) error {
	if p.Role != placement.RoleAgent && p.Role != placement.RoleHostinfo {
		return nil
	}
	all, err := i.nodes.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range all {
		if string(n.Node) == p.Subject && n.State == placement.NodeGivenUp {
			return &placement.Error{
				Kind: placement.KindRefused, What: fmt.Sprintf("the certificate of %s/%s is not renewed", p.Role, p.Subject),
				Why: fmt.Sprintf("node %s is given up", n.Node), Next: "its agent registers when it comes back; then it may ask again",
			}
		}
	}
	return nil
}

// renewOwn is how the broadcaster itself gets a new one.
func (i issuer) renewOwn(store *pki.Store) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		if i.authority == nil {
			return nil, fmt.Errorf("this broadcaster has no authority's key (--ca-dir)")
		}
		return i.authority.Renew(store.Leaf())
	}
}

// askRenewal has the broadcaster at addr renew our certificate.
func askRenewal(t rpc.Transport, addr string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		link, err := rpc.Dial(ctx, t, addr, rpc.Config{})
		if err != nil {
			return nil, err
		}
		defer link.Close()
		var cert string
		err = link.Call(ctx, "certificate_renew", &cert)
		return []byte(cert), err
	}
}

// dialTLS connects to the broadcaster's registry with our certificate.
func dialTLS(store *pki.Store) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conf, err := store.Config()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: conf}
		return dialer.DialContext(ctx, network, addr)
	}
}

// listenImages listens for image transfers: with the certificate of the store
// anywhere, without one on the loopback alone. It returns the address to tell,
// without a host if it listens on every one.
func listenImages(ctx context.Context, addr string, store *pki.Store) (net.Listener, string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	ip := net.ParseIP(host)
	if store == nil && (ip == nil || !ip.IsLoopback()) {
		return nil, "", &placement.Error{
			Kind: placement.KindInvalid, What: addr + " is not a loopback address",
			Why: "images go in clear only on loopback", Next: "give --tls-dir, or a --registry on 127.0.0.1",
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, "", err
	}
	if store == nil {
		return l, "http://" + l.Addr().String(), nil
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, "", err
	}
	if ip != nil && ip.IsUnspecified() {
		host = ""
	}
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return store.Config() },
	}
	return tls.NewListener(l, conf), "https://" + net.JoinHostPort(host, port), nil
}

// imageSocket is where the registry serves this machine, beside the
// broadcaster's own socket and for the same people.
const imageSocket = "images.sock"

// listenImageSocket makes the registry's socket in dir, for group alone. It is
// never open to others, and one that is left over is replaced.
func listenImageSocket(ctx context.Context, dir string, group int) (net.Listener, error) {
	path, passing := filepath.Join(dir, imageSocket), filepath.Join(dir, ".images")
	if err := os.Remove(passing); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", passing)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(passing, 0o660)
	if err == nil && group != 0 {
		err = os.Chown(passing, -1, group)
	}
	if err == nil {
		err = os.Rename(passing, path)
	}
	if err != nil {
		_ = l.Close() // why is told
		return nil, err
	}
	return l, nil
}

// LocalImages is the way to the registry of the broadcaster whose socket the
// endpoint is; false: it is none.
func LocalImages(endpoint string) (*http.Transport, bool) {
	socket, ok := strings.CutPrefix(endpoint, "ipc://")
	if !ok {
		return nil, false
	}
	path := filepath.Join(filepath.Dir(socket), imageSocket)
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 8, DisableCompression: true,
	}, true
}

// mayUseImages tells what a caller of the registry may do: nodes read all,
// users read and write their own, operators everything. Without TLS, or on its
// socket, it is one of this machine, who may do all.
func mayUseImages(store *pki.Store) func(r *http.Request, owner string, write bool) error {
	if store == nil {
		return nil
	}
	return func(r *http.Request, owner string, write bool) error {
		if _, local := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); local {
			return nil // its mode let in operators alone
		}
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return &placement.Error{Kind: placement.KindRefused, What: "no certificate was shown"}
		}
		role, name, err := store.Subject(r.TLS.PeerCertificates[0])
		if err != nil {
			return err
		}
		switch role {
		case placement.RoleOperator:
			return nil
		case placement.RoleUser:
			return placement.MayTouch(role, images.RepositoryOwner(name), owner)
		}
		if write {
			return &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s/%s may not push images", role, name)}
		}
		return nil
	}
}
