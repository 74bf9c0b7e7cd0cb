package images_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"longshore/internal/images"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("IMAGES_TEST_SERVE"); dir != "" {
		serveUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if program, err := buildHello(); err == nil {
			os.RemoveAll(filepath.Dir(program))
		}
		os.Exit(code)
	}))
}

// buildHello builds the example program, once.
var buildHello = sync.OnceValues(func() (program string, err error) {
	dir, err := os.MkdirTemp("", "hello")
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "hello")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "longshore/examples/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hello: %w\n%s", err, out)
	}
	return program, nil
})

func hello(t *testing.T) string {
	t.Helper()
	program, err := buildHello()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// quiet keeps the logs of what a test breaks on purpose out of its output.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// client is an HTTP client of the test's own, left without connections.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// serve puts a handler on loopback.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func openRegistry(t *testing.T, dir string, opts images.Options) *images.Registry {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	r, err := images.OpenRegistry(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asServed counts requests and can put a handler in their way.
type asServed struct {
	http.Handler
	blobs, manifests atomic.Int64
}

func (s *asServed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.Contains(r.URL.Path, "/blobs/sha256:"):
		s.blobs.Add(1)
	case strings.Contains(r.URL.Path, "/manifests/"):
		s.manifests.Add(1)
	}
	s.Handler.ServeHTTP(w, r)
}

// image is a small image of random content that exposes ports.
func image(t *testing.T, layers int64, ports ...string) v1.Image {
	t.Helper()
	img, err := random.Image(4096, layers)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.ExposedPorts = map[string]struct{}{}
	for _, p := range ports {
		config.Config.ExposedPorts[p] = struct{}{}
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// withLayer is an image of one layer of exactly this content.
func withLayer(t *testing.T, content []byte) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(image(t, 0), static.NewLayer(content, types.DockerLayer))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, d interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := d.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func layerDigest(t *testing.T, img v1.Image) string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return digest(t, layers[0])
}

// refTo is "repo:tag" or "repo@digest" in the registry at server.
func refTo(t *testing.T, server, what string) name.Reference {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(u.Host+"/"+what, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func push(t *testing.T, server, what string, img v1.Image) {
	t.Helper()
	if err := remote.Write(refTo(t, server, what), img, remote.WithTransport(client(t).Transport), remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push %s: %v", what, err)
	}
}

// pull reads a whole image, every byte of it, and gives back its digest.
func pull(ctx context.Context, t *testing.T, server, what string) (string, error) {
	t.Helper()
	img, err := remote.Image(refTo(t, server, what), remote.WithTransport(client(t).Transport), remote.WithContext(ctx), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	if err != nil {
		return "", err
	}
	if _, err := img.ConfigFile(); err != nil {
		return "", err
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return "", err
		}
		_, err = io.Copy(io.Discard, rc) // fails on a wrong digest
		rc.Close()
		if err != nil {
			return "", err
		}
	}
	return digest(t, img), nil
}

func mustPull(t *testing.T, server, what string, want v1.Image) {
	t.Helper()
	got, err := pull(t.Context(), t, server, what)
	if err != nil {
		t.Fatalf("pull %s: %v", what, err)
	}
	if got != digest(t, want) {
		t.Fatalf("pull %s gives %s, not %s", what, got, digest(t, want))
	}
}

// do sends one request and reads the whole answer.
func do(t *testing.T, c *http.Client, method, url string, body []byte, header ...string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}
