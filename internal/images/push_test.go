package images_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"longshore/internal/images"
	"longshore/internal/placement"
)

func hostname(t *testing.T) string {
	t.Helper()
	h, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// saved is what `docker save` writes.
func saved(t *testing.T, named map[string]v1.Image) []byte {
	t.Helper()
	byTag := map[name.Tag]v1.Image{}
	for n, img := range named {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		byTag[tag] = img
	}
	var out bytes.Buffer
	if err := tarball.MultiWrite(byTag, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// archived is an OCI archive.
func archived(t *testing.T, index v1.ImageIndex) []byte {
	t.Helper()
	dir := t.TempDir()
	if _, err := layout.Write(dir, index); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "../../escape", Size: 1}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("x"))
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return out.Bytes()
}

func ref(n string) mutate.IndexAddendum {
	return mutate.IndexAddendum{Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": n}}}
}

func TestPushTar(t *testing.T) {
	r := openRegistry(t, t.TempDir(), images.Options{})
	s := serve(t, r)
	one, two := image(t, 2, "80/tcp"), image(t, 1)
	both := saved(t, map[string]v1.Image{"shop:1": one, "alice/web:2": two})
	a, b := ref("shop:1"), ref("v2")
	a.Add, b.Add = one, two
	multi := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: one}, mutate.IndexAddendum{Add: two})
	m := ref("registry.example.com/many:1")
	m.Add = multi
	archive := archived(t, mutate.AppendManifests(empty.Index, a, b))
	for _, c := range []struct {
		what, tag string
		tar       []byte
		is        interface{ Digest() (v1.Hash, error) }
		repo      string
		kind      string
	}{
		{what: "single, by another name", tag: "other:9", tar: saved(t, map[string]v1.Image{"x:y": one}), is: one, repo: "alice/other:9"},
		{what: "one of two", tag: "shop:1", tar: both, is: one, repo: "alice/shop:1"},
		{what: "one of two, by the owner's name", tag: "web:2", tar: both, is: two, repo: "alice/web:2"},
		{what: "one of two, owner written", tag: "alice/web:2", tar: both, is: two, repo: "alice/web:2"},
		{what: "none of two", tag: "shop:2", tar: both, kind: placement.KindNotFound},
		{what: "archive", tag: "shop:1", tar: archive, is: one, repo: "alice/shop:1"},
		{what: "archive that knows the tag only", tag: "web:v2", tar: archive, is: two, repo: "alice/web:v2"},
		{what: "archive without it", tag: "web:v3", tar: archive, kind: placement.KindNotFound},
		{what: "archive of an index", tag: "many:1", tar: archived(t, mutate.AppendManifests(empty.Index, m)), is: multi, repo: "alice/many:1"},
		{what: "another registry's name", tag: "registry.example.com/many:1", tar: both, kind: placement.KindInvalid},
		{what: "another owner's name", tag: "bob/shop:1", tar: both, kind: placement.KindInvalid},
		{what: "a digest", tag: "shop@" + digest(t, one), tar: both, kind: placement.KindInvalid},
		{what: "no tar", tag: "shop:1", tar: []byte("hello"), kind: placement.KindInvalid},
		{what: "empty", tag: "shop:1", tar: nil, kind: placement.KindInvalid},
		{what: "cut off", tag: "shop:1", tar: archive[:len(archive)/2], kind: placement.KindInvalid},
	} {
		t.Run(c.what, func(t *testing.T) {
			to := images.Destination{Registry: s.URL, Owner: "alice"}
			var done, total int64
			got, err := images.PushStream(t.Context(), to, c.tag, bytes.NewReader(c.tar), func(d, n int64) { done, total = d, n })
			var told *placement.Error
			switch {
			case c.kind != "" && (!errors.As(err, &told) || told.Kind != c.kind):
				t.Errorf("%v, not %s", err, c.kind)
			case c.kind == "" && err != nil:
				t.Error(err)
			case c.kind == "":
				if _, isIndex := c.is.(v1.ImageIndex); isIndex && got != digest(t, c.is) {
					t.Errorf("digest %s, not %s", got, digest(t, c.is))
				}
				found, err := r.Resolve(t.Context(), "alice", strings.TrimPrefix(c.repo, "alice/"))
				if err != nil || found.Digest != got {
					t.Errorf("%s is %v, not %s: %v", c.repo, found, got, err)
				}
				if done != total {
					t.Errorf("progress ends at %d of %d", done, total)
				}
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "longshore-image-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

func TestPushToNowhere(t *testing.T) {
	tarOf := func() images.Opener {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, saved(t, map[string]v1.Image{"shop:1": image(t, 1)}), 0o600); err != nil {
			t.Fatal(err)
		}
		return images.FromFile(path)
	}()
	for registry, kind := range map[string]string{"http://127.0.0.1:1": placement.KindUnavailable, "ftp://x": placement.KindInvalid, "": placement.KindInvalid} {
		_, err := images.PushTar(t.Context(), images.Destination{Registry: registry, Owner: "alice"}, "shop:1", tarOf, nil)
		var told *placement.Error
		if !errors.As(err, &told) || told.Kind != kind {
			t.Errorf("%q: %v", registry, err)
		}
	}
	_, err := images.PushTar(t.Context(), images.Destination{Registry: "http://127.0.0.1:1", Owner: "alice"}, "shop:1", images.FromFile("/nonexistent"), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestFromBinary(t *testing.T) {
	r := openRegistry(t, t.TempDir(), images.Options{})
	s := serve(t, r)
	program := hello(t)
	how := images.Binary{Dest: "/usr/bin/hello", Expose: []uint16{8080}, User: "65534:65534", Env: []string{"A=b"}}
	var digests []string
	for range 2 {
		img, err := images.FromBinary(program, how)
		if err != nil {
			t.Fatal(err)
		}
		got, err := img.Push(t.Context(), images.Destination{Registry: s.URL, Owner: "alice"}, "hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := img.Digest(); err != nil || d != got {
			t.Errorf("digest is %s, pushed as %s: %v", d, got, err)
		}
		digests = append(digests, got)
	}
	if digests[0] != digests[1] {
		t.Errorf("the same program makes %v", digests)
	}
	found, err := r.Resolve(t.Context(), "alice", "hello:latest")
	if err != nil || found.Digest != digests[0] || len(found.Listen) != 1 || found.Listen[0] != 8080 {
		t.Errorf("resolved to %v: %v", found, err)
	}
	if _, err := pull(t.Context(), t, s.URL, "alice/hello:latest"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"/bin/sh", "push_test.go", "/nonexistent"} {
		_, err := images.FromBinary(bad, images.Binary{})
		var told *placement.Error
		if !errors.As(err, &told) || told.Kind != placement.KindInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
