package images

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options of a [Registry]. The zero value is fit for use.
type Options struct {
	// Allow says whether the request may read, or write, repositories of
	// owner, which is a [RepositoryOwner]. nil: all may do both. Whatever it
	// says, nobody writes where owner cannot be one.
	Allow func(r *http.Request, owner string, write bool) error
	// Remote is the way to other registries; nil: straight, or by the proxy
	// of the environment, but never to loopback or link-local addresses. A
	// transport given here must keep users from such addresses itself.
	Remote http.RoundTripper
	// RemoteTimeout bounds looking up one image in another registry; 0: 10 s.
	RemoteTimeout time.Duration
	// Platform is whose configuration of an image for several is read, as in
	// "linux/arm64"; "": this machine's.
	Platform string
	// MaxBlob bounds one layer, in bytes; 0: 16 GiB.
	MaxBlob int64
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Registry is the cluster's image registry: an http.Handler that speaks the
// protocol of registries, and what [Registry.Resolve] asks. It is safe for
// concurrent use, has no goroutines of its own and needs no closing. One
// directory belongs to one Registry at a time.
//
// Serve it with a ReadHeaderTimeout and without a WriteTimeout: layers may be
// large and readers slow.
type Registry struct {
	dir     string
	opts    Options
	log     *slog.Logger
	inner   http.Handler // go-containerregistry's; holds the manifests in memory
	blobs   *blobStore
	uploads *uploads
	want    v1.Platform
	turn    chan struct{} // holds one token: whoever has it changes manifests
}

// OpenRegistry opens the registry in dir, and makes it if there is none. What
// a push left unfinished is dropped. A damaged manifest is logged and left
// out; it never keeps the rest from opening.
func OpenRegistry(ctx context.Context, dir string, opts Options) (*Registry, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.RemoteTimeout == 0 {
		opts.RemoteTimeout = 10 * time.Second
	}
	if opts.MaxBlob == 0 {
		opts.MaxBlob = 16 << 30
	}
	if opts.Allow == nil {
		opts.Allow = func(*http.Request, string, bool) error { return nil }
	}
	want := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if opts.Platform != "" {
		p, err := v1.ParsePlatform(opts.Platform)
		if err != nil || p.OS == "" || p.Architecture == "" {
			return nil, fmt.Errorf("open registry: %q is no platform as in linux/arm64", opts.Platform)
		}
		want = *p
	}
	for _, sub := range []string{"manifests", "blobs"} {
		if err := makeDir(filepath.Join(dir, sub)); err != nil {
			return nil, fmt.Errorf("open registry: %w", err)
		}
	}
	blobs, err := newBlobStore(filepath.Join(dir, "blobs"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	up, err := newUploads(filepath.Join(dir, "uploads"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{dir: dir, opts: opts, log: opts.Logger, blobs: blobs, uploads: up, want: want, turn: make(chan struct{}, 1)}
	r.inner = registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(blobs))
	r.turn <- struct{}{}
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	return r, nil
}

// ServeHTTP answers one request of the registry's protocol.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	t, err := parsePath(req.URL.Path)
	if err != nil {
		refuse(w, http.StatusNotFound, "NAME_INVALID", err.Error())
		return
	}
	if t.kind == kindRoot {
		welcome(w)
		return
	}
	err = r.opts.Allow(req, t.owner, !isRead(req))
	if err == nil && !isRead(req) {
		err = checkOwner(t.owner)
	}
	if err != nil {
		refuse(w, http.StatusForbidden, "DENIED", err.Error())
		return
	}
	switch {
	case t.kind == kindManifest && req.Method == http.MethodPut:
		r.putManifest(w, req, t)
	case t.kind == kindManifest && req.Method == http.MethodDelete:
		r.deleteManifest(w, req, t)
	case t.kind == kindManifest && req.Method == http.MethodHead:
		r.headManifest(w, req, t)
	case (t.kind == kindManifest || t.kind == kindTags) && isRead(req):
		r.call(req.Context(), req.Method, t.path()+"?"+req.URL.RawQuery, "", nil).send(w)
	case t.kind == kindBlob && isRead(req):
		out := req.Clone(req.Context())
		out.URL.Path = t.path()
		out.Header.Del("Range") // the whole is a fair answer; go-containerregistry reads only some forms
		r.inner.ServeHTTP(w, out)
	case t.kind == kindUploads && req.Method == http.MethodPost:
		r.startUpload(w, req, t)
	case t.kind == kindUpload:
		r.continueUpload(w, req, t)
	default: // blobs are shared by all repositories: nobody deletes one
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method+" is not supported here")
	}
}

// call has go-containerregistry answer a request of our own, in memory.
func (r *Registry) call(ctx context.Context, method, url, mediaType string, body io.Reader) *answer {
	a := newAnswer()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil { // the path was checked
		refuse(a, http.StatusBadRequest, "NAME_INVALID", err.Error())
		return a
	}
	if body == nil {
		req.Body = http.NoBody
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	if f, isFile := body.(*os.File); isFile {
		if info, err := f.Stat(); err == nil {
			req.ContentLength = info.Size()
		}
	}
	r.inner.ServeHTTP(a, req)
	return a
}

// List is what owner has in the registry, as "name:tag", sorted. An owner
// without repositories has none.
func (r *Registry) List(owner string) []string {
	var tags []string
	own := RepositoryOwner(owner)
	repos, _ := os.ReadDir(filepath.Join(r.dir, "manifests", own)) // an owner without a directory has nothing
	for _, repo := range repos {
		files, _ := os.ReadDir(filepath.Join(r.dir, "manifests", own, repo.Name()))
		for _, f := range files {
			if tagForm.MatchString(f.Name()) {
				tags = append(tags, repo.Name()+":"+f.Name())
			}
		}
	}
	return tags
}
