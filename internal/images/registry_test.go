package images_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"longshore/internal/images"
)

// TestRestart pushes, opens the registry again and pulls.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	first, second, other := image(t, 2), image(t, 1), image(t, 1)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	{
		s := serve(t, openRegistry(t, dir, images.Options{}))
		push(t, s.URL, "alice/shop:latest", first)
		push(t, s.URL, "alice/shop:v1", first)
		push(t, s.URL, "alice/shop:latest", second) // moves the tag
		push(t, s.URL, "alice/gone:latest", second)
		push(t, s.URL, "bob/shop:latest", other)
		if err := remote.WriteIndex(refTo(t, s.URL, "bob/many:1"), nested, remote.WithTransport(client(t).Transport)); err != nil {
			t.Fatal(err)
		}
		if resp, body, err := do(t, client(t), http.MethodDelete, s.URL+"/v2/alice/gone/manifests/"+digest(t, second), nil); err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("delete: %v %v %s", err, resp, body)
		}
		s.Close()
	}
	r := openRegistry(t, dir, images.Options{})
	s := serve(t, r)
	mustPull(t, s.URL, "alice/shop:latest", second)
	mustPull(t, s.URL, "alice/shop:v1", first)
	mustPull(t, s.URL, "alice/shop@"+digest(t, first), first)
	mustPull(t, s.URL, "bob/shop:latest", other)
	mustPull(t, s.URL, "bob/many@"+digest(t, other), other)
	got, err := remote.Index(refTo(t, s.URL, "bob/many:1"), remote.WithTransport(client(t).Transport))
	if err != nil || digest(t, got) != digest(t, nested) {
		t.Errorf("index after restart: %v", err)
	}
	for _, gone := range []string{"alice/gone:latest", "alice/gone@" + digest(t, second), "alice/shop:v2", "bob/shop:v1"} {
		if d, err := pull(t.Context(), t, s.URL, gone); err == nil {
			t.Errorf("%s is %s", gone, d)
		}
	}
	if got, want := r.List("alice"), []string{"shop:latest", "shop:v1"}; !slices.Equal(got, want) {
		t.Errorf("alice has %v, not %v", got, want)
	}
	if got := r.List("nobody"); len(got) != 0 {
		t.Errorf("nobody has %v", got)
	}
}

// serveUntilKilled is the child process of TestKill.
func serveUntilKilled(dir string) {
	r, err := images.OpenRegistry(context.Background(), dir, images.Options{Logger: quiet()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("http://" + l.Addr().String())
	_ = http.Serve(l, r)
}

// TestKill kills a registry with SIGKILL while it is being pushed to. What it
// had answered is there afterwards, and nothing is there in part.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]v1.Image{}
	for round := range 3 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), "IMAGES_TEST_SERVE="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "http://") {
			t.Fatalf("child says %q", lines.Text())
		}
		server := lines.Text()
		var kill *time.Timer
		for n := 0; ; n++ {
			if n == 2 {
				kill = time.AfterFunc(time.Duration(5+70*round)*time.Millisecond, func() { child.Process.Kill() })
			}
			what := fmt.Sprintf("alice/app%d:r%d", n%3, round)
			img := image(t, 3)
			err := remote.Write(refTo(t, server, what), img, remote.WithTransport(client(t).Transport), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
			if err != nil {
				delete(acked, what) // the tag may be the old or the new
				break
			}
			acked[what] = img
		}
		if kill == nil {
			t.Fatal("two pushes failed before the kill")
		}
		kill.Stop()
		child.Process.Kill()
		child.Wait()
	}
	s := serve(t, openRegistry(t, dir, images.Options{}))
	if len(acked) == 0 {
		t.Fatal("nothing was pushed before the kill")
	}
	for what, img := range acked {
		mustPull(t, s.URL, what, img)
	}
	cut, err := filepath.Glob(dir + "/*/*/.new-*")
	if err != nil || len(cut) > 0 {
		t.Errorf("left over: %v %v", cut, err)
	}
}

// TestDamage opens a registry with broken files: what is whole is served, and
// what is not can be pushed again.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	good, bad, blob := image(t, 1), image(t, 1), image(t, 1)
	s := serve(t, openRegistry(t, dir, images.Options{}))
	push(t, s.URL, "alice/good:1", good)
	push(t, s.URL, "alice/bad:1", bad)
	push(t, s.URL, "alice/blob:1", blob)
	s.Close()
	for _, f := range []string{"manifests/alice/bad/" + digest(t, bad), "blobs/sha256/" + strings.TrimPrefix(layerDigest(t, blob), "sha256:"), "manifests/alice/torn/latest", "manifests/.new-1", "manifests/alice/bad/.new-2"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte("{}\nnonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = serve(t, openRegistry(t, dir, images.Options{}))
	mustPull(t, s.URL, "alice/good:1", good)
	for _, what := range []string{"alice/bad:1", "alice/blob:1", "alice/torn:latest"} {
		if _, err := pull(t.Context(), t, s.URL, what); err == nil {
			t.Errorf("%s can be pulled", what)
		}
	}
	push(t, s.URL, "alice/bad:1", bad)
	push(t, s.URL, "alice/blob:1", blob)
	mustPull(t, s.URL, "alice/bad:1", bad)
	mustPull(t, s.URL, "alice/blob:1", blob)
}

// TestRefusals is what the registry does not do, and why.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	r := openRegistry(t, dir, images.Options{
		MaxBlob: 1 << 20,
		Allow: func(req *http.Request, owner string, write bool) error {
			if user := req.Header.Get("X-User"); write && user != "" && images.RepositoryOwner(user) != owner {
				return fmt.Errorf("%s is not %s", user, owner)
			}
			return nil
		},
	})
	s := serve(t, r)
	img := image(t, 1)
	push(t, s.URL, "alice/shop:1", img)
	body, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	missing, err := image(t, 1).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	const image, index = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.index.v1+json"
	wrong := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		method, path, mediaType string
		body                    []byte
		status                  int
		code                    string
	}{
		{"GET", "/v2/_catalog", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v1/search", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/shop/manifests/1", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/alice/shop/sub/manifests/1", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/alice/..%2f..%2fetc/manifests/passwd", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/alice/shop/manifests/..", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/alice/shop/manifests/.new-1", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/alice/shop/blobs/sha256:../../x", "", nil, 404, "NAME_INVALID"},
		{"GET", "/v2/Alice/shop/manifests/1", "", nil, 404, "NAME_INVALID"},
		{"PUT", "/v2/al.ice/shop/manifests/1", image, body, 404, "NAME_INVALID"},
		{"GET", "/v2/alice/shop/manifests/2", "", nil, 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "/v2/alice/shop/manifests/2", "", nil, 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "/v2/alice/shop/blobs/" + layerDigest(t, img), "", nil, 405, "UNSUPPORTED"},
		{"PUT", "/v2/alice/shop/manifests/" + wrong, image, body, 400, "DIGEST_INVALID"},
		{"PUT", "/v2/alice/shop/manifests/2", image, missing, 400, "MANIFEST_BLOB_UNKNOWN"},
		{"PUT", "/v2/alice/shop/manifests/2", image, []byte("{"), 400, "MANIFEST_INVALID"},
		{"PUT", "/v2/alice/shop/manifests/2", index, []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"` + image + `","digest":"` + wrong + `"}]}`), 400, "MANIFEST_UNKNOWN"},
		{"PUT", "/v2/alice/shop/manifests/2", "text/plain", body, 400, "MANIFEST_INVALID"},
		{"PUT", "/v2/alice/shop/manifests/2", image, make([]byte, 5<<20), 413, "SIZE_INVALID"},
		{"PUT", "/v2/bob/shop/manifests/1", image, body, 403, "DENIED"},
		{"DELETE", "/v2/bob/shop/manifests/1", "", nil, 403, "DENIED"},
		{"POST", "/v2/bob/shop/blobs/uploads/", "", nil, 403, "DENIED"},
		{"POST", "/v2/alice/shop/blobs/uploads/?digest=" + wrong, "", []byte("x"), 400, "DIGEST_INVALID"},
		{"POST", "/v2/alice/shop/blobs/uploads/?digest=md5:0", "", []byte("x"), 400, "DIGEST_INVALID"},
		{"PATCH", "/v2/alice/shop/blobs/uploads/" + strings.Repeat("A", 26), "", []byte("x"), 404, "BLOB_UPLOAD_UNKNOWN"},
	} {
		resp, answer, err := do(t, client(t), c.method, s.URL+c.path, c.body, "X-User", "alice", "Content-Type", c.mediaType)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
		} else if resp.StatusCode != c.status || !strings.Contains(answer, `"`+c.code+`"`) {
			t.Errorf("%s %s: %d %s, not %d %s", c.method, c.path, resp.StatusCode, answer, c.status, c.code)
		}
	}
	if resp, _, err := do(t, client(t), "GET", s.URL+"/v2/bob/shop/tags/list", nil, "X-User", "alice"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("reading is not refused by Allow: %v %v", resp, err)
	}
	left, err := filepath.Glob(dir + "/blobs/sha256/.new-*")
	if err != nil || len(left) > 0 {
		t.Errorf("a refused blob left %v %v", left, err)
	}
	mustPull(t, s.URL, "alice/shop:1", img)
}

// TestUpload walks a layer in by pieces.
func TestUpload(t *testing.T) {
	s := serve(t, openRegistry(t, t.TempDir(), images.Options{MaxBlob: 10}))
	c := client(t)
	start := func() string {
		resp, _, err := do(t, c, "POST", s.URL+"/v2/alice/shop/blobs/uploads/", nil)
		if err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp, err)
		}
		return s.URL + resp.Header.Get("Location")
	}
	step := func(method, url, body string, status int, header ...string) *http.Response {
		t.Helper()
		resp, answer, err := do(t, c, method, url, []byte(body), header...)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("%s %s: %v %s, not %d", method, url, err, answer, status)
		}
		return resp
	}
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("abcdef")))
	at := start()
	step("PATCH", at, "abc", 202, "Content-Range", "0-2")
	step("PATCH", at, "xyz", 416, "Content-Range", "5-7")
	if got := step("GET", at, "", 204).Header.Get("Range"); got != "0-2" {
		t.Errorf("range is %q", got)
	}
	step("PATCH", strings.Replace(at, "alice", "bob", 1), "x", 404)
	step("PUT", at+"?digest="+sum, "def", 201)
	step("PATCH", at, "x", 404) // it is over
	resp := step("GET", s.URL+"/v2/alice/shop/blobs/"+sum, "", 200, "Range", "bytes=1-")
	if resp.ContentLength != 6 {
		t.Errorf("the blob has %d bytes", resp.ContentLength)
	}
	at = start()
	step("PUT", at+"?digest="+sum, "abcdeF", 400) // digest
	at = start()
	step("PATCH", at, "more than ten bytes", 413)
	step("DELETE", at, "", 204)
	for range 64 {
		start()
	}
	step("POST", s.URL+"/v2/alice/shop/blobs/uploads/", "", 429)
	step("POST", s.URL+"/v2/bob/shop/blobs/uploads/", "", 202) // another owner has room
}

// TestSlowClients pushes and pulls while others push and pull without getting on.
func TestSlowClients(t *testing.T) {
	s := serve(t, openRegistry(t, t.TempDir(), images.Options{}))
	big := withLayer(t, bytes.Repeat([]byte("layer"), 4<<20))
	push(t, s.URL, "alice/big:1", big)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, _, err := do(t, client(t), "POST", s.URL+"/v2/alice/slow/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	never, hold := io.Pipe() // an upload of which a piece comes, and then nothing
	defer hold.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, s.URL+resp.Header.Get("Location"), never)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	c := client(t)
	go func() {
		resp, err := c.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	if _, err := hold.Write([]byte("some")); err != nil {
		t.Fatal(err)
	}
	download, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v2/alice/big/blobs/"+layerDigest(t, big), nil)
	if err != nil {
		t.Fatal(err)
	}
	unread, err := client(t).Do(download) // 20 MiB, of which nothing is read
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Body.Close()

	began := time.Now()
	other := image(t, 2)
	push(t, s.URL, "bob/shop:1", other)
	mustPull(t, s.URL, "bob/shop:1", other)
	mustPull(t, s.URL, "alice/big:1", big)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s beside slow clients", took)
	}
	select {
	case err := <-ended:
		t.Fatalf("slow upload ended early: %v", err)
	default:
	}
	cancel()
	hold.CloseWithError(context.Canceled)
	<-ended
}

// TestRepositoryOwner maps every owner to a repository of its own.
func TestRepositoryOwner(t *testing.T) {
	s := serve(t, openRegistry(t, t.TempDir(), images.Options{}))
	seen := map[string]string{}
	for _, owner := range []string{"alice", "Alice", "ALICE", "a__b", "a___b", "a-", "a_", "owner-1", strings.Repeat("a", 63), strings.Repeat("A", 63)} {
		got := images.RepositoryOwner(owner)
		if was, taken := seen[got]; taken {
			t.Errorf("%s and %s are both %s", owner, was, got)
		}
		seen[got] = owner
		img := image(t, 1)
		push(t, s.URL, got+"/shop:1", img)
		mustPull(t, s.URL, got+"/shop:1", img)
	}
}
