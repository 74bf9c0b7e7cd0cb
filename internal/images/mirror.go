package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MirrorOptions of a [Mirror]. The zero value is fit for use.
type MirrorOptions struct {
	// Client asks the upstream; nil: a client of its own, without proxy. It
	// must not have a Timeout: a large layer may take long.
	Client *http.Client
	// MaxBytes bounds the cache; what was not used for longest goes first.
	// 0: 10 GiB. A layer that is on its way may exceed it.
	MaxBytes int64
	// Stall is how long the upstream may send nothing before a fetch fails;
	// 0: 2 min.
	Stall time.Duration
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Mirror is a node's read-only image registry: an http.Handler for its
// loopback, out of which the node's daemons pull what lies in the cluster's
// registry. It answers only requests that name a loopback address as host.
//
// Every blob is fetched once however many ask for it, and goes to each of
// them while it arrives. What was fetched by digest is served without the
// upstream from then on; a tag always needs the upstream's word.
//
// It is safe for concurrent use. Its goroutines end with the requests that
// need them. One directory belongs to one Mirror at a time.
type Mirror struct {
	dir      string
	opts     MirrorOptions
	log      *slog.Logger
	upstream atomic.Pointer[string]
	cache    *cache

	mu      sync.Mutex
	fetches map[string]*fetch // by digest
}

// NewMirror opens the mirror in dir, of the registry at upstream
// ("http://host:port"). With "" it serves only its cache, until [Mirror.Use].
func NewMirror(upstream, dir string, opts MirrorOptions) (*Mirror, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 10 << 30
	}
	if opts.Stall == 0 {
		opts.Stall = 2 * time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Client == nil {
		opts.Client = &http.Client{Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 8,
			DisableCompression: true,
		}}
	}
	c, err := openCache(dir, opts.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	m := &Mirror{dir: dir, opts: opts, log: opts.Logger, cache: c, fetches: map[string]*fetch{}}
	if err := m.Use(upstream); err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	return m, nil
}

// Use makes the registry at upstream ("http://host:port", or "" for none) the
// one that is asked from now on. What is on its way comes from the old one.
func (m *Mirror) Use(upstream string) error {
	if upstream != "" {
		u, err := url.Parse(upstream)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("%q is no registry as in http://host:port", upstream)
		}
		upstream = u.Scheme + "://" + u.Host
	}
	m.upstream.Store(&upstream)
	return nil
}

// Close lets go of idle connections to the upstream. Call it when no request
// is being served any more. Calling it twice does no harm.
func (m *Mirror) Close() { m.opts.Client.CloseIdleConnections() }

// ServeHTTP answers one request of the registry's protocol.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	// A name that someone lets point at this machine's loopback would make
	// Docker pull from here what the name's owner may not see.
	if !isLoopback(req.Host) {
		refuse(w, http.StatusForbidden, "DENIED", "this registry serves its own machine, by its loopback address")
		return
	}
	if !isRead(req) {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only: push to the cluster's")
		return
	}
	t, err := parsePath(req.URL.Path)
	if err != nil {
		refuse(w, http.StatusNotFound, "NAME_INVALID", err.Error())
		return
	}
	switch t.kind {
	case kindRoot:
		welcome(w)
	case kindManifest:
		m.serveManifest(w, req, t)
	case kindBlob:
		m.serveBlob(w, req, t)
	default:
		refuse(w, http.StatusNotFound, "UNSUPPORTED", "this registry serves manifests and blobs only")
	}
}

func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// serveManifest answers from the cache if it is asked for a digest, and else
// out of the upstream.
func (m *Mirror) serveManifest(w http.ResponseWriter, req *http.Request, t target) {
	byDigest := digestForm.MatchString(t.ref)
	if byDigest {
		if found, err := readManifest(m.cache.manifest(t.repo, t.ref), t.ref); err == nil {
			m.cache.touch(m.cache.manifest(t.repo, t.ref))
			sendManifest(w, req, found)
			return
		}
	}
	found, err := m.fetchManifest(req.Context(), t)
	if err != nil {
		m.refuse(w, err)
		return
	}
	content, err := found.encode()
	if err == nil {
		err = m.cache.put(m.cache.manifest(t.repo, found.digest), bytes.NewReader(content))
	}
	if err != nil { // served all the same
		m.log.Warn("manifest not cached", "repo", t.repo, "digest", found.digest, "err", err)
	}
	sendManifest(w, req, found)
}

func sendManifest(w http.ResponseWriter, req *http.Request, found manifest) {
	w.Header().Set("Content-Type", found.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(found.body)))
	w.Header().Set("Docker-Content-Digest", found.digest)
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodGet {
		_, _ = w.Write(found.body) // a client that left is no error of ours
	}
}

func (m *Mirror) fetchManifest(ctx context.Context, t target) (manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, m.opts.Stall)
	defer cancel()
	resp, err := m.ask(ctx, t)
	if err != nil {
		return manifest{}, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return manifest{}, unreachable(t, err)
	}
	found := manifest{mediaType: resp.Header.Get("Content-Type"), body: body, digest: digestOf(body)}
	if len(body) > maxManifest || digestForm.MatchString(t.ref) && found.digest != t.ref {
		return manifest{}, &upstreamError{http.StatusBadGateway, "MANIFEST_INVALID", "the cluster's registry sent another manifest than " + t.ref}
	}
	return found, nil
}

// upstreamError is why the upstream did not give what was asked for, as it is
// passed on.
type upstreamError struct {
	status        int
	code, message string
}

func (e *upstreamError) Error() string { return e.message }

// unreachable has a status of 424 and not 503, for Docker shows its users the
// messages of the former only. It tries layers again after either.
func unreachable(t target, err error) error {
	return &upstreamError{http.StatusFailedDependency, "UNAVAILABLE", fmt.Sprintf("%s is not cached here and the cluster's registry cannot be asked: %v", t.repo, err)}
}

func (m *Mirror) refuse(w http.ResponseWriter, err error) {
	if up, ok := errors.AsType[*upstreamError](err); ok {
		refuse(w, up.status, up.code, up.message)
		return
	}
	if errors.Is(err, context.Canceled) {
		return // the client left
	}
	m.log.Error("request to mirror failed", "err", err)
	refuse(w, http.StatusInternalServerError, "UNKNOWN", "this node cannot cache the image: "+err.Error())
}

// ask sends GET for the target to the upstream; the answer is 200.
func (m *Mirror) ask(ctx context.Context, t target) (*http.Response, error) {
	upstream := *m.upstream.Load()
	if upstream == "" {
		return nil, unreachable(t, errors.New("it is not known yet"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, upstream+t.path(), nil)
	if err != nil {
		return nil, unreachable(t, err)
	}
	resp, err := m.opts.Client.Do(req)
	if err != nil {
		return nil, unreachable(t, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // lets the connection be used again
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound && t.kind == kindBlob:
		return nil, &upstreamError{http.StatusNotFound, "BLOB_UNKNOWN", "the cluster's registry has no such blob"}
	case resp.StatusCode == http.StatusNotFound:
		return nil, &upstreamError{http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("the cluster's registry has no %s %s", t.repo, t.ref)}
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return nil, &upstreamError{http.StatusForbidden, "DENIED", "the cluster's registry refuses this node"}
	}
	return nil, unreachable(t, fmt.Errorf("it answers %s", resp.Status))
}

// serveBlob answers from the cache, or while the blob arrives.
func (m *Mirror) serveBlob(w http.ResponseWriter, req *http.Request, t target) {
	w.Header().Set("Docker-Content-Digest", t.ref)
	w.Header().Set("Content-Type", "application/octet-stream")
	if f, ok := m.cache.open(t.ref); ok {
		defer func() { _ = f.Close() }() // only read
		http.ServeContent(w, req, "", time.Time{}, f)
		return
	}
	f := m.join(req.Context(), t)
	defer m.leave(f)
	total, err := f.begun(req.Context())
	if err != nil {
		w.Header().Del("Docker-Content-Digest")
		m.refuse(w, err)
		return
	}
	pos := int64(0)
	if n, err := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &pos); n != 1 || err != nil || !strings.HasSuffix(req.Header.Get("Range"), "-") || pos <= 0 || pos >= total {
		pos = 0 // the whole is a fair answer
	}
	w.Header().Set("Content-Length", strconv.FormatInt(total-pos, 10))
	w.Header().Set("Connection", "close") // the last reader's next request need not wait until the blob is on disk
	if pos > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", pos, total-1, total))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.WriteHeader(http.StatusOK)
	}
	if req.Method == http.MethodHead {
		return
	}
	if err := f.copyTo(req.Context(), w, pos); err != nil {
		panic(http.ErrAbortHandler) // the only way to tell a client that there will be no more
	}
}
