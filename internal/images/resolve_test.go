package images_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"longshore/internal/images"
	"longshore/internal/placement"
)

// elsewhere is a way to other registries: all hosts in names lie at one
// server, any other host is unreachable.
type elsewhere struct {
	server *url.URL
	names  []string
	way    http.RoundTripper
	asked  atomic.Int64
}

func (e *elsewhere) RoundTrip(req *http.Request) (*http.Response, error) {
	e.asked.Add(1)
	if !slices.Contains(e.names, req.URL.Host) {
		return nil, fmt.Errorf("no route to %s", req.URL.Host)
	}
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", e.server.Host, e.server.Host
	return e.way.RoundTrip(out)
}

func otherRegistries(t *testing.T, h http.Handler, names ...string) *elsewhere {
	t.Helper()
	u, err := url.Parse(serve(t, h).URL)
	if err != nil {
		t.Fatal(err)
	}
	return &elsewhere{server: u, names: names, way: client(t).Transport}
}

// TestResolve says what each form of a name means for alice.
func TestResolve(t *testing.T) {
	hub := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	other := otherRegistries(t, hub, "index.docker.io", "registry.example.com:5000")
	r := openRegistry(t, t.TempDir(), images.Options{Remote: other, Platform: "linux/arm64"})
	s := serve(t, r)

	shop, bobs, nginx, team := image(t, 1, "8080/tcp", "80", "53/udp", "9000-9002/tcp", "x/tcp"), image(t, 1, "1/tcp"), image(t, 1, "80/tcp", "443/tcp"), image(t, 1)
	amd, arm := image(t, 1, "1111/tcp"), image(t, 1, "2222/tcp")
	attestation := image(t, 1, "3333/tcp")
	many := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}})
	push(t, s.URL, "alice/shop:latest", shop)
	push(t, s.URL, "bob/shop:latest", bobs)
	push(t, s.URL, "bob/secret:latest", bobs)
	hubURL := "http://" + other.server.Host
	push(t, hubURL, "library/nginx:1", nginx)
	push(t, hubURL, "bob/shop:latest", team)
	push(t, hubURL, "team/sub/app:v2", team)
	for server, what := range map[string]string{s.URL: "alice/many:1", hubURL: "library/many:2"} {
		if err := remote.WriteIndex(refTo(t, server, what), many, remote.WithTransport(client(t).Transport)); err != nil {
			t.Fatal(err)
		}
	}
	own := func(repo string, d string, listen ...uint16) images.Resolved {
		return images.Resolved{Image: repo + "@" + d, Digest: d, Own: true, Listen: listen}
	}
	far := func(repo string, d string, listen ...uint16) images.Resolved {
		return images.Resolved{Image: repo + "@" + d, Digest: d, Listen: listen}
	}
	mine := own("alice/shop", digest(t, shop), 80, 8080, 9000, 9001, 9002)
	for ref, want := range map[string]images.Resolved{
		"shop":                               mine,
		"shop:latest":                        mine,
		"alice/shop":                         mine,
		"shop@" + digest(t, shop):            mine,
		"alice/shop:x@" + digest(t, shop):    mine,
		"many:1":                             own("alice/many", digest(t, many), 2222),
		"bob/shop":                           far("docker.io/bob/shop", digest(t, team)),
		"nginx:1":                            far("docker.io/library/nginx", digest(t, nginx), 80, 443),
		"docker.io/nginx:1":                  far("docker.io/library/nginx", digest(t, nginx), 80, 443),
		"library/nginx@" + digest(t, nginx):  far("docker.io/library/nginx", digest(t, nginx), 80, 443),
		"many:2":                             far("docker.io/library/many", digest(t, many), 2222),
		"team/sub/app:v2":                    far("docker.io/team/sub/app", digest(t, team)),
		"registry.example.com:5000/nginx:v3": {},
		"registry.example.com:5000/team/sub/app:v2": far("registry.example.com:5000/team/sub/app", digest(t, team)),
	} {
		got, err := r.Resolve(t.Context(), "alice", ref)
		if want.Image == "" {
			if err == nil {
				t.Errorf("%s is %v", ref, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", ref, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", ref, d)
		}
	}
}

// TestResolveErrors reads what a person is told.
func TestResolveErrors(t *testing.T) {
	var status atomic.Int64
	other := otherRegistries(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v2/" {
			return
		}
		w.WriteHeader(int(status.Load()))
	}), "index.docker.io", "gone.example.com")
	r := openRegistry(t, t.TempDir(), images.Options{Remote: other})
	s := serve(t, r)
	push(t, s.URL, "alice/web:1", image(t, 1))
	push(t, s.URL, "alice/web:2", image(t, 1))
	push(t, s.URL, "bob/secret:1", image(t, 1))
	secret := "sha256:" + strings.Repeat("ab", 32)
	for _, c := range []struct {
		owner, ref    string
		status        int64
		kind          string
		what, why     string
		next          string
		doesNotAsk    bool
		isNotAnAnswer string
	}{
		{owner: "alice", ref: "shop:latest", status: 404, kind: placement.KindNotFound, what: "image shop:latest is not in the cluster's registry", why: "alice has there: web:1, web:2; docker.io has no library/shop:latest", next: "schedctl image push shop:latest"},
		{owner: "bob", ref: "web:1", status: 401, kind: placement.KindNotFound, what: "web:1 is not in the cluster's", why: "bob has there: secret:1; docker.io has no library/web that anyone may read", next: "schedctl image push web:1"},
		{owner: "carol", ref: "alice/web:1", status: 429, kind: placement.KindUnavailable, what: "alice/web:1 cannot be looked up", why: "docker.io answers that it is asked too often", next: "schedctl image push"},
		{owner: "carol", ref: "web", status: 429, kind: placement.KindNotFound, what: "image web is not", why: "carol has no images there", next: "schedctl image push web"},
		{owner: "alice", ref: "unreachable.example.com/x:1", kind: placement.KindUnavailable, what: "unreachable.example.com/x:1 cannot be looked up", why: "unreachable.example.com could not be asked: ", next: "check the name"},
		{owner: "alice", ref: "gone.example.com/x:1", status: 404, kind: placement.KindNotFound, why: "gone.example.com has no x:1", next: "check the name"},
		{owner: "alice", ref: "bob/secret@" + secret, status: 404, kind: placement.KindNotFound, why: "docker.io has no bob/secret", isNotAnAnswer: "secret:1"},
		{owner: "alice", ref: "", kind: placement.KindInvalid, doesNotAsk: true, next: "NAME:TAG"},
		{owner: "alice", ref: "UPPER:1", kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "alice", ref: "a b", kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "alice", ref: "../../etc/passwd", kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "alice", ref: "x@sha256:12", kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "alice", ref: "x:" + strings.Repeat("t", 300), kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "alice", ref: "user:pass@host/x", kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "../alice", ref: "x", kind: placement.KindInvalid, doesNotAsk: true},
		{owner: "alice", ref: "127.0.0.1:5000/bob/secret:1", kind: placement.KindRefused, why: "127.0.0.1:5000 is not asked", doesNotAsk: true},
		{owner: "alice", ref: "localhost/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "reg.localhost:80/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "0.0.0.0:5000/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "169.254.169.254/latest/meta-data", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "100.100.100.200/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "[::1]:5000/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "[::ffff:7f00:1]:5000/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "[fe80::1]:5000/x", kind: placement.KindRefused, doesNotAsk: true},
		{owner: "alice", ref: "[64:ff9b::7f00:1]/x", kind: placement.KindRefused, doesNotAsk: true},
	} {
		status.Store(c.status)
		before := other.asked.Load()
		got, err := r.Resolve(t.Context(), c.owner, c.ref)
		var told *placement.Error
		if !errors.As(err, &told) {
			t.Errorf("%s: %v, %v", c.ref, got, err)
			continue
		}
		if told.Kind != c.kind || !strings.Contains(told.What, c.what) || !strings.Contains(told.Why, c.why) || !strings.Contains(told.Next, c.next) {
			t.Errorf("%s of %s: %s:\n%s", c.ref, c.owner, told.Kind, told)
		}
		if c.isNotAnAnswer != "" && strings.Contains(told.Error(), c.isNotAnAnswer) {
			t.Errorf("%s: tells of %s", c.ref, c.isNotAnAnswer)
		}
		if asked := other.asked.Load() - before; c.doesNotAsk && asked > 0 {
			t.Errorf("%s: %d requests went out", c.ref, asked)
		}
	}
}

// TestResolveIsBounded meets a registry that never answers, and one that
// never stops answering.
func TestResolveIsBounded(t *testing.T) {
	silent := otherRegistries(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }), "registry.example.com")
	r := openRegistry(t, t.TempDir(), images.Options{Remote: silent, RemoteTimeout: 100 * time.Millisecond})
	began := time.Now()
	_, err := r.Resolve(t.Context(), "alice", "registry.example.com/x:1")
	if err == nil || !strings.Contains(err.Error(), "no answer within 100ms") || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	endless := otherRegistries(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for req.URL.Path != "/v2/" && req.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}), "registry.example.com")
	r = openRegistry(t, t.TempDir(), images.Options{Remote: endless})
	if _, err := r.Resolve(t.Context(), "alice", "registry.example.com/x:1"); err == nil {
		t.Error("an endless manifest is taken")
	}
}

// TestResolveNeverDialsLoopback names a registry by a host whose address is
// this machine's.
func TestResolveNeverDialsLoopback(t *testing.T) {
	var asked atomic.Int64
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	s := serve(t, h)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	r := openRegistry(t, t.TempDir(), images.Options{RemoteTimeout: 3 * time.Second})
	_, err = r.Resolve(t.Context(), "alice", hostname(t)+":"+port+"/bob/secret:1")
	if err == nil {
		t.Error("this host is asked")
	}
	addrs, _ := net.DefaultResolver.LookupHost(t.Context(), hostname(t)) // some machines do not know their own name
	if len(addrs) == 1 && strings.HasPrefix(addrs[0], "127.") && !strings.Contains(err.Error(), "loopback") {
		t.Errorf("refused for another reason: %v", err)
	}
	if asked.Load() > 0 {
		t.Error("a request came")
	}
}
