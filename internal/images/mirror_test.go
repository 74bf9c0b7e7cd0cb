package images_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"longshore/internal/images"
)

func newMirror(t *testing.T, upstream, dir string, opts images.MirrorOptions) *images.Mirror {
	t.Helper()
	opts.Logger = quiet()
	m, err := images.NewMirror(upstream, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// trickle serves one blob piece by piece, each when the test says so.
type trickle struct {
	http.Handler
	digest string
	piece  chan []byte
	length int
	ended  chan struct{} // closed when the one request for it is over
	once   sync.Once
}

func newTrickle(h http.Handler, digest string, length int) *trickle {
	return &trickle{Handler: h, digest: digest, length: length, piece: make(chan []byte), ended: make(chan struct{})}
}

func (s *trickle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, s.digest) {
		s.Handler.ServeHTTP(w, r)
		return
	}
	defer s.once.Do(func() { close(s.ended) })
	w.Header().Set("Content-Length", fmt.Sprint(s.length))
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for sent := 0; sent < s.length; {
		select {
		case b, more := <-s.piece:
			if !more {
				return
			}
			sent += len(b)
			_, _ = w.Write(b)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// TestMirror pulls through, and then without the upstream.
func TestMirror(t *testing.T) {
	up := &asServed{Handler: openRegistry(t, t.TempDir(), images.Options{})}
	s := serve(t, up)
	dir := t.TempDir()
	m := newMirror(t, s.URL, dir, images.MirrorOptions{})
	first := serve(t, m)
	mirror := first.URL
	img, later := image(t, 3), image(t, 1)
	push(t, s.URL, "alice/shop:1", img)
	push(t, s.URL, "alice/later:1", later)
	up.blobs.Store(0)
	mustPull(t, mirror, "alice/shop:1", img)
	mustPull(t, mirror, "alice/shop@"+digest(t, img), img)
	if n := up.blobs.Load(); n != 4 {
		t.Errorf("upstream was asked for blobs %d times, not 4", n)
	}
	s.Close()
	mustPull(t, mirror, "alice/shop@"+digest(t, img), img)
	for path, want := range map[string]int{
		"/v2/": 200, "/v2/alice/shop/manifests/1": 424, "/v2/alice/later/manifests/" + digest(t, later): 424,
		"/v2/alice/later/blobs/" + layerDigest(t, later): 424,
		"/v2/bob/shop/manifests/" + digest(t, img):       424, // cached for alice's repository only
	} {
		if resp, answer, err := do(t, client(t), "GET", mirror+path, nil); err != nil || resp.StatusCode != want {
			t.Errorf("%s without upstream: %v %v %s", path, err, resp.StatusCode, answer)
		}
	}
	// Another start of the agent, and damage meanwhile.
	first.Close()
	if err := os.WriteFile(filepath.Join(dir, "tmp", "blob-1"), []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := newMirror(t, "", dir, images.MirrorOptions{})
	mirror = serve(t, again).URL
	mustPull(t, mirror, "alice/shop@"+digest(t, img), img)
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("tmp holds %v %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(layerDigest(t, img), "sha256:")), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t.Context(), t, mirror, "alice/shop@"+digest(t, img)); err == nil {
		t.Error("a damaged layer is served")
	}
	if err := again.Use(serve(t, up).URL); err != nil {
		t.Fatal(err)
	}
	mustPull(t, mirror, "alice/shop@"+digest(t, img), img)
	mustPull(t, mirror, "alice/later:1", later)
	if err := again.Use("ftp://x"); err == nil {
		t.Error("ftp is taken")
	}
}

func TestMirrorRefusals(t *testing.T) {
	registry := serve(t, openRegistry(t, t.TempDir(), images.Options{})).URL
	mirror := serve(t, newMirror(t, registry, t.TempDir(), images.MirrorOptions{})).URL
	img := image(t, 1)
	push(t, registry, "alice/shop:1", img)
	for _, c := range []struct {
		method, path, host string
		status             int
	}{
		{"GET", "/v2/alice/shop/manifests/1", "localhost:5000", 200},
		{"HEAD", "/v2/alice/shop/manifests/1", "127.0.0.9", 200},
		{"HEAD", "/v2/alice/shop/blobs/" + layerDigest(t, img), "[::1]:80", 200},
		{"GET", "/v2/alice/shop/manifests/1", "rebound.example.com:5000", 403},
		{"GET", "/v2/", "10.0.0.1", 403},
		{"PUT", "/v2/alice/shop/manifests/2", "", 405},
		{"POST", "/v2/alice/shop/blobs/uploads/", "", 405},
		{"DELETE", "/v2/alice/shop/manifests/1", "", 405},
		{"GET", "/v2/alice/shop/tags/list", "", 404},
		{"GET", "/v2/_catalog", "", 404},
		{"GET", "/v2/alice/shop/manifests/2", "", 404},
		{"GET", "/v2/alice/shop/blobs/sha256:" + strings.Repeat("0", 64), "", 404},
		{"GET", "/v2/alice/..%2f..%2f/manifests/1", "", 404},
	} {
		resp, answer, err := do(t, client(t), c.method, mirror+c.path, nil, "Host", c.host)
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("%s %s at %q: %v %v %s, not %d", c.method, c.path, c.host, err, resp.StatusCode, answer, c.status)
		}
	}
}

// TestMirrorSlowBlob pulls beside a blob that gets a byte now and then, and
// shares that one among several who want it.
func TestMirrorSlowBlob(t *testing.T) {
	content := []byte("abcdefgh")
	slow, other := withLayer(t, content), image(t, 3)
	inner := openRegistry(t, t.TempDir(), images.Options{})
	tr := newTrickle(inner, layerDigest(t, slow), len(content))
	up := &asServed{Handler: tr}
	s := serve(t, up)
	push(t, s.URL, "alice/slow:1", slow)
	push(t, s.URL, "alice/other:1", other)
	m := newMirror(t, s.URL, t.TempDir(), images.MirrorOptions{})
	first := serve(t, m)
	mirror := first.URL

	const readers = 4
	up.blobs.Store(0)
	bodies := make([]io.Reader, readers)
	for i := range bodies {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, mirror+"/v2/alice/slow/blobs/"+layerDigest(t, slow), nil)
		if err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			req.Header.Set("Range", "bytes=2-") // as Docker goes on after a break
		}
		resp, err := client(t).Do(req) // the headers come before the first byte
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if want := map[bool]int{false: 200, true: 206}[i == 3]; resp.StatusCode != want {
			t.Fatalf("status %s, not %d", resp.Status, want)
		}
		bodies[i] = resp.Body
	}
	for n, b := range content {
		tr.piece <- content[n : n+1]
		if n == len(content)-1 {
			break
		}
		for i, body := range bodies { // each has the byte before the next is sent
			if i == 3 && n < 2 {
				continue
			}
			got := make([]byte, 1)
			if _, err := io.ReadFull(body, got); err != nil || got[0] != b {
				t.Fatalf("reader %d gets %q, not %q: %v", i, got, b, err)
			}
		}
		if n == 3 {
			began := time.Now()
			mustPull(t, mirror, "alice/other:1", other)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("another image took %s", took)
			}
		}
	}
	for i, body := range bodies {
		if rest, err := io.ReadAll(body); err != nil || !bytes.Equal(rest, content[len(content)-1:]) {
			t.Errorf("reader %d ends with %q: %v", i, rest, err)
		}
	}
	if n := up.blobs.Load(); n != 1+4 {
		t.Errorf("%d requests for blobs, not 5", n)
	}
	first.Close() // waits until the blob is kept
	mirror = serve(t, m).URL
	mustPull(t, mirror, "alice/slow:1", slow) // from the cache: the trickle has ended
	resp, rest, err := do(t, client(t), "GET", mirror+"/v2/alice/slow/blobs/"+layerDigest(t, slow), nil, "Range", "bytes=2-4")
	if err != nil || resp.StatusCode != http.StatusPartialContent || rest != "cde" {
		t.Errorf("range of a cached blob: %v %v %q", err, resp.StatusCode, rest)
	}
}

// TestMirrorLastReaderLeaves ends a fetch that nobody wants any more.
func TestMirrorLastReaderLeaves(t *testing.T) {
	slow := withLayer(t, []byte("abcdefgh"))
	tr := newTrickle(openRegistry(t, t.TempDir(), images.Options{}), layerDigest(t, slow), 8)
	s := serve(t, tr)
	push(t, s.URL, "alice/slow:1", slow)
	dir := t.TempDir()
	mirror := serve(t, newMirror(t, s.URL, dir, images.MirrorOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, mirror.URL+"/v2/alice/slow/blobs/"+layerDigest(t, slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	tr.piece <- []byte("abc")
	cancel()
	select {
	case <-tr.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the upstream is still being read")
	}
	mirror.Close() // waits for the handler
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("tmp holds %v %v", left, err)
	}
}

// TestMirrorBadUpstream gets wrong bytes, too few, none, and then the right ones.
func TestMirrorBadUpstream(t *testing.T) {
	content := []byte("abcdefgh")
	img := withLayer(t, content)
	inner := openRegistry(t, t.TempDir(), images.Options{})
	push(t, serve(t, inner).URL, "alice/shop:1", img)
	path := "/v2/alice/shop/blobs/" + layerDigest(t, img)
	dir := t.TempDir()
	m := newMirror(t, "", dir, images.MirrorOptions{Stall: 300 * time.Millisecond})
	mirror := serve(t, m).URL
	for what, pieces := range map[string][]string{"wrong": {"abcd", "efgH"}, "short": {"abcd", ""}, "stalled": {"abcd"}} {
		tr := newTrickle(inner, layerDigest(t, img), len(content))
		if err := m.Use(serve(t, tr).URL); err != nil {
			t.Fatal(err)
		}
		go func() {
			for _, p := range pieces {
				if p == "" {
					close(tr.piece)
					return
				}
				tr.piece <- []byte(p)
			}
		}()
		resp, got, err := do(t, client(t), "GET", mirror+path, nil)
		if err == nil || resp != nil && resp.StatusCode != http.StatusOK || !strings.HasPrefix("abcd", got) {
			t.Errorf("%s: %v %q %v", what, resp, got, err)
		}
	}
	unsized := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(content)
	})
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	for path, h := range map[string]http.Handler{path: unsized, "/v2/alice/shop/manifests/" + digest(t, img): other} {
		if err := m.Use(serve(t, h).URL); err != nil {
			t.Fatal(err)
		}
		if resp, answer, err := do(t, client(t), "GET", mirror+path, nil); err != nil || resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %v %v %s", path, err, resp, answer)
		}
	}
	if err := m.Use(serve(t, inner).URL); err != nil {
		t.Fatal(err)
	}
	mustPull(t, mirror, "alice/shop:1", img)
}

// TestMirrorTogether pulls many images at once, by many, in a small cache.
func TestMirrorTogether(t *testing.T) {
	const bound = 200 << 10
	registry, dir := serve(t, openRegistry(t, t.TempDir(), images.Options{})).URL, t.TempDir()
	m := newMirror(t, registry, dir, images.MirrorOptions{MaxBytes: bound})
	s := serve(t, m)
	imgs := make([]v1.Image, 6)
	for i := range imgs {
		img, err := random.Image(30<<10, 3)
		if err != nil {
			t.Fatal(err)
		}
		imgs[i] = img
		push(t, registry, fmt.Sprintf("alice/app%d:1", i), img)
	}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			what := fmt.Sprintf("alice/app%d", i%len(imgs))
			if got, err := pull(t.Context(), t, s.URL, what+"@"+digest(t, imgs[i%len(imgs)])); err != nil {
				t.Errorf("%s: %s %v", what, got, err)
			}
		})
	}
	wg.Wait()
	s.Close() // waits until what was fetched is kept
	var size int64
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return err
	})
	if err != nil || size > bound || size < bound/3 {
		t.Errorf("the cache has %d bytes of %d: %v", size, bound, err)
	}
	// The one used last is kept.
	s = serve(t, m)
	mustPull(t, s.URL, "alice/app2@"+digest(t, imgs[2]), imgs[2])
	mustPull(t, s.URL, "alice/app3@"+digest(t, imgs[3]), imgs[3])
	s.Close()
	layer := filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(layerDigest(t, imgs[3]), "sha256:"))
	if _, err := os.Stat(layer); err != nil {
		t.Error(err)
	}
}
