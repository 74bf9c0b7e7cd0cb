package dockerd_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"longshore/internal/dockerd"
)

// mirror is as much of a registry as a daemon needs to pull by digest. Blobs
// of a repository that ends in "slow" come a byte a second.
type mirror struct {
	server *httptest.Server
	mu     sync.Mutex
	blobs  map[string][]byte // by digest, manifests included
	gets   atomic.Int32      // of layers of slow repositories
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{blobs: map[string][]byte{}}
	m.server = httptest.NewServer(m)
	t.Cleanup(m.server.Close)
	return m
}

// mirrored is a change of a node's configuration.
func (m *mirror) mirrored(c *dockerd.Config) { c.Mirror = strings.TrimPrefix(m.server.URL, "http://") }

func (m *mirror) put(b []byte) string {
	sum := sha256.Sum256(b)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[digest] = b
	return digest
}

// image makes an image of the test program, and of ballast bytes.
func (m *mirror) image(t *testing.T, repository string, ballast int) string {
	t.Helper()
	program, err := os.ReadFile(built.app)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, ballast)
	rand.Read(noise)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, f := range []struct {
		name string
		data []byte
	}{{"app", program}, {"ballast", noise}} { // in one order, so that equal images have one digest
		w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.data))})
		w.Write(f.data)
	}
	w.Close()
	diff := sha256.Sum256(layer.Bytes())
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.NoCompression) // under the race detector it would take a second
	z.Write(layer.Bytes())
	z.Close()

	config, _ := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/app"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(diff[:])}},
	})
	part := func(kind string, b []byte) map[string]any {
		return map[string]any{"mediaType": "application/vnd.docker." + kind, "size": len(b), "digest": m.put(b)}
	}
	manifest, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": part("container.image.v1+json", config),
		"layers": []any{part("image.rootfs.diff.tar.gzip", packed.Bytes())},
	})
	return repository + "@" + m.put(manifest)
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	m.mu.Lock()
	b, ok := m.blobs[digest]
	m.mu.Unlock()
	switch {
	case r.URL.Path == "/v2/":
		return
	case !ok:
		http.NotFound(w, r)
		return
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest)
	case strings.Contains(r.URL.Path, "slow/") && len(b) > 10_000:
		m.gets.Add(1)
		m.drip(w, r, b)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func (m *mirror) drip(w http.ResponseWriter, r *http.Request, b []byte) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range b {
		w.Write(b[i : i+1])
		w.(http.Flusher).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
