package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// slowMark marks the connections that the slow registry itself makes.
const slowMark = 0x15f0

// slowFrom is the size in bytes from which on a blob counts as a layer.
const slowFrom = 64 << 10

// SlowRegistry stands between everybody and the cluster's image registry, and
// can let its layers through at a byte a second. Nobody knows of it: the host
// redirects the registry's port to it.
type SlowRegistry struct {
	on      atomic.Bool
	cut     atomic.Bool
	fail    atomic.Bool
	failed  atomic.Int64
	flowing atomic.Int64
	sent    atomic.Int64
}

// SlowRegistry puts one in place, until the test ends. Pulls and pushes that
// began before are not touched. It is fast until told otherwise.
func (c *Cluster) SlowRegistry() *SlowRegistry {
	c.t.Helper()
	target, err := url.Parse(c.registry)
	if err != nil {
		c.t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(c.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	s := &SlowRegistry{}
	server := &http.Server{Handler: s.proxy(target), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // it ends with Close
	}()
	c.t.Cleanup(func() { server.Close(); <-done })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		c.t.Fatal(err)
	}
	rule := []string{
		"OUTPUT", "-p", "tcp", "-d", target.Hostname(), "--dport", target.Port(), "-m", "mark", "!", "--mark", "0x15f0",
		"-m", "comment", "--comment", "longshore test: slow registry", "-j", "REDIRECT", "--to-ports", port,
	}
	change := func(how string) {
		out, err := exec.Command("iptables", append([]string{"-w", "-t", "nat", how}, rule...)...).CombinedOutput()
		if err != nil {
			c.t.Errorf("iptables %s: %v: %s", how, err, out)
		}
	}
	change("-A")
	c.t.Cleanup(func() { change("-D") })
	return s
}

func (s *SlowRegistry) proxy(target *url.URL) http.Handler {
	dialer := &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		failed := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, slowMark)
		})
		if failed != nil {
			return failed
		}
		return err
	}}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		Transport:     &http.Transport{DialContext: dialer.DialContext},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusInternalServerError) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method != http.MethodGet || !strings.Contains(r.Request.URL.Path, "/blobs/") || r.ContentLength < slowFrom {
				return nil
			}
			switch {
			case s.fail.Load():
				s.failed.Add(1)
				return errors.New("the test wants it to fail")
			case s.cut.Load():
				s.failed.Add(1)
				r.Body = &stump{r.Body, r.ContentLength / 2}
			case s.on.Load():
				s.flowing.Add(1)
				r.Body = &trickle{ctx: r.Request.Context(), body: r.Body, s: s}
			}
			return nil
		},
	}
}

// Slow lets layers whose transfer begins from now on through at a byte a
// second; or gives all of them their speed again.
func (s *SlowRegistry) Slow(on bool) { s.on.Store(on) }

// Cut ends layers half way from now on, or no longer.
func (s *SlowRegistry) Cut(on bool) { s.cut.Store(on) }

// Fail answers requests for layers with 500 from now on, or no longer.
func (s *SlowRegistry) Fail(on bool) { s.fail.Store(on) }

// Failed is how many layers were cut or answered with 500, ever.
func (s *SlowRegistry) Failed() int { return int(s.failed.Load()) }

// Flowing is how many transfers are slow now.
func (s *SlowRegistry) Flowing() int { return int(s.flowing.Load()) }

// Sent is how many bytes went through slowly, ever.
func (s *SlowRegistry) Sent() int { return int(s.sent.Load()) }

// stump is a body that ends with an error after so many bytes.
type stump struct {
	io.ReadCloser
	left int64
}

func (b *stump) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// trickle is a body that comes a byte a second, for as long as that is wanted.
type trickle struct {
	ctx  context.Context //nolint:containedctx // a Reader has no other way to hear of it
	body io.ReadCloser
	s    *SlowRegistry
}

func (t *trickle) Read(b []byte) (int, error) {
	if !t.s.on.Load() || len(b) == 0 {
		return t.body.Read(b)
	}
	select {
	case <-time.After(time.Second):
		t.s.sent.Add(1)
		return t.body.Read(b[:1])
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	}
}

func (t *trickle) Close() error {
	t.s.flowing.Add(-1)
	return t.body.Close()
}
