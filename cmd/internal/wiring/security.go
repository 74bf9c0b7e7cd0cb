package wiring

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"longshore/internal/pki"
	"longshore/internal/placement"
	"longshore/rpc"
)

// Security says how a daemon's links are protected: its certificate, and who
// may use its unix sockets. The zero value is for one machine.
type Security struct {
	TLSDir      string // ca.pem, cert.pem and key.pem; "": no TLS
	Insecure    bool   // plain TCP beyond loopback
	SocketGroup string // group of the unix sockets; "": "longshore" if there is one, else the process's

	store   *pki.Store   // nil without TLSDir
	renewer *pki.Renewer // likewise
	group   int          // 0: the process's
}

// Flags defines the command line.
func (s *Security) Flags(fs *flag.FlagSet) {
	fs.StringVar(&s.TLSDir, "tls-dir", "", "directory of ca.pem, cert.pem and key.pem, as schedctl ca issue makes it (default: no TLS)")
	fs.BoolVar(&s.Insecure, "insecure", false, "allow plain TCP beyond loopback: whoever reaches the address is root on every node")
	fs.StringVar(&s.SocketGroup, "socket-group", "", "group whose members may use the unix sockets, as operators (default: longshore if there is such a group, else the process's own)")
}

// Open reads the certificate and looks up the group. want is the role that the
// certificate must have.
func (s *Security) Open(role string, logger *slog.Logger) error {
	if s.Insecure {
		logger.Warn("--insecure: plain TCP is allowed beyond loopback, and whoever reaches it is root on every node")
	}
	if err := s.findGroup(); err != nil {
		return err
	}
	if s.TLSDir == "" {
		return nil
	}
	store, err := pki.Open(s.TLSDir)
	if err != nil {
		return err
	}
	if id := store.Identity(); id.Role != role {
		return &placement.Error{
			Kind: placement.KindInvalid, What: fmt.Sprintf("the certificate in %s is that of %s", s.TLSDir, id),
			Why:  "this daemon needs one of role " + role,
			Next: fmt.Sprintf("schedctl ca issue %s/%s --out DIR makes one", role, id.Name),
		}
	}
	if err := pki.Ended(store.Leaf(), s.TLSDir); err != nil {
		logger.Error("no link can be made", "err", err)
	}
	s.store, s.renewer = store, &pki.Renewer{Store: store, Logger: logger}
	return nil
}

func (s *Security) findGroup() error {
	name := s.SocketGroup
	if name == "" {
		name = "longshore"
	}
	g, err := user.LookupGroup(name)
	if err == nil {
		s.group, err = strconv.Atoi(g.Gid)
	}
	if err != nil && s.SocketGroup != "" {
		return &placement.Error{Kind: placement.KindInvalid, What: "there is no group " + name, Why: err.Error(), Next: "groupadd " + name + ", or give another --socket-group"}
	}
	return nil
}

// transport makes links as the options say.
func (s *Security) transport(logger *slog.Logger) rpc.Transport {
	opts := rpc.ZMQOptions{AllowPlaintext: s.Insecure, SocketGroup: s.group, Logger: logger}
	if s.store != nil {
		opts.TLS, opts.Subject = s.store.Config, s.store.Subject
	}
	return rpc.ZMQ(opts)
}

// alarm is what an operator should know of the certificate, or "".
func (s *Security) alarm() string {
	if s.renewer == nil {
		return ""
	}
	return s.renewer.Alarm()
}

// renew keeps the certificate alive until ctx ends, by asking ask.
func (s *Security) renew(ctx context.Context, ask func(context.Context) ([]byte, error)) error {
	if s.renewer == nil {
		<-ctx.Done()
		return nil
	}
	s.renewer.Ask = ask
	return s.renewer.Run(ctx)
}

// client asks image registries, with the certificate if there is one; nil: as
// anybody would.
func (s *Security) client() *http.Client {
	if s.store == nil {
		return nil
	}
	return &http.Client{Transport: NewImageTransport(s.store)}
}

// NewImageTransport speaks to the image registry of the store's cluster.
func NewImageTransport(store *pki.Store) *http.Transport {
	return &http.Transport{
		DialTLSContext:      dialTLS(store),
		IdleConnTimeout:     30 * time.Second,
		MaxIdleConnsPerHost: 8,
		DisableCompression:  true,
	}
}

// RegistryURL is where the image registry is that the broadcaster at endpoint
// told: one without a host is on the broadcaster's own machine.
func RegistryURL(endpoint, told string) string {
	u, err := url.Parse(told)
	if err != nil || u.Hostname() != "" {
		return told
	}
	host := "127.0.0.1"
	if at, err := url.Parse(endpoint); err == nil && at.Hostname() != "" {
		host = at.Hostname()
	}
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String()
}

// makeRunDir makes the directory of a daemon's sockets. One that others may
// write to is refused: they could put a socket of their own there.
func makeRunDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if m := info.Mode(); m&0o002 != 0 {
		return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("everybody may write to %s (mode %v)", dir, m), Why: "sockets there could be anybody's", Next: "chmod o-w " + dir}
	}
	return nil
}

// hold makes sure that only one process works with what path is the lock of.
// The lock ends with the process, or with release.
func hold(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path) // who it is helps, and is not needed
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return nil, &placement.Error{
			Kind: placement.KindConflict, What: fmt.Sprintf("another daemon works with %s", filepath.Dir(path)),
			Why:  fmt.Sprintf("%s is locked by process %s", path, strings.TrimSpace(string(holder))),
			Next: "end that one first, or give this one directories of its own",
		}
	}
	err = errors.Join(f.Truncate(0), ignoreCount(fmt.Fprintf(f, "%d\n", os.Getpid())))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

func ignoreCount(_ int, err error) error { return err }

// authority opens the cluster's authority in dir; nil without one there.
func authority(dir string) (*pki.Authority, error) {
	if dir == "" {
		return nil, nil
	}
	a, err := pki.OpenAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return a, err
}
