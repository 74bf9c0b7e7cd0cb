package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"longshore/internal/placement"
)

// maxReply bounds what another registry may answer to one request, in bytes.
const maxReply = maxConfig

// errForbidden marks addresses that a user may not make the cluster talk to.
var errForbidden = errors.New("loopback, link-local and multicast addresses are not allowed")

// resolveRemote asks the registry that named is of, without credentials.
func (r *Registry) resolveRemote(ctx context.Context, named reference.Named) (Resolved, error) {
	if err := checkHost(reference.Domain(named)); err != nil {
		return Resolved{}, err
	}
	way := r.opts.Remote
	if way == nil {
		t := guardedTransport()
		defer t.CloseIdleConnections()
		way = t
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.opts.RemoteTimeout, fmt.Errorf("no answer within %s", r.opts.RemoteTimeout))
	defer cancel()
	sep := ":"
	if _, byDigest := named.(reference.Digested); byDigest {
		sep = "@"
	}
	ref, err := name.ParseReference(named.Name() + sep + identifier(named))
	if err != nil {
		return Resolved{}, err
	}
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(bounded{way}), remote.WithPlatform(r.want),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Steps: 2}),
	}
	desc, err := remote.Get(ref, opts...)
	if err != nil {
		return Resolved{}, withCause(ctx, err)
	}
	config, err := remoteConfig(desc, r.want)
	if err != nil {
		return Resolved{}, withCause(ctx, err)
	}
	digest := desc.Digest.String()
	return Resolved{Image: named.Name() + "@" + digest, Digest: digest, Listen: listen(config)}, nil
}

func remoteConfig(desc *remote.Descriptor, want v1.Platform) (*v1.ConfigFile, error) {
	if desc.MediaType.IsImage() {
		image, err := desc.Image()
		if err != nil {
			return nil, err
		}
		return image.ConfigFile()
	}
	if !desc.MediaType.IsIndex() {
		return nil, fmt.Errorf("it is of type %s, which is no image", desc.MediaType)
	}
	index, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	chosen, ok := choose(list, want)
	if !ok {
		return nil, errors.New("it is an index without images")
	}
	image, err := index.Image(chosen.Digest)
	if err != nil {
		return nil, err
	}
	return image.ConfigFile()
}

// withCause names our own timeout where that is what went wrong.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// remoteWhy says what became of asking the registry, in one line.
func remoteWhy(named reference.Named, err error) string {
	host := reference.Domain(named)
	if answered, ok := errors.AsType[*transport.Error](err); ok {
		switch answered.StatusCode {
		case http.StatusNotFound:
			return fmt.Sprintf("%s has no %s:%s", host, reference.Path(named), identifier(named))
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Sprintf("%s has no %s that anyone may read", host, reference.Path(named))
		case http.StatusTooManyRequests:
			return fmt.Sprintf("%s answers that it is asked too often", host)
		}
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if errors.Is(err, errForbidden) {
		return fmt.Sprintf("%s is not asked: %s", host, errForbidden)
	}
	return fmt.Sprintf("%s could not be asked: %.300s", host, text)
}

// remoteError is for an image that only another registry can have.
func remoteError(ref string, named reference.Named, err error) error {
	e := &placement.Error{
		Kind: placement.KindUnavailable, What: fmt.Sprintf("image %s cannot be looked up", ref), Why: remoteWhy(named, err),
		Next: fmt.Sprintf("check the name, or put the image into the cluster: docker tag %s NAME:TAG; schedctl image push NAME:TAG", ref),
	}
	var answered *transport.Error
	switch {
	case errors.Is(err, errForbidden):
		e.Kind = placement.KindRefused
	case errors.As(err, &answered) && answered.StatusCode < 500 && answered.StatusCode != http.StatusTooManyRequests:
		e.Kind = placement.KindNotFound
	}
	return e
}

// checkHost refuses registries that are addresses no user has business with:
// they would be asked from the broadcaster's place in the network, and pulled
// from by a node, whose own loopback serves the images of all owners.
func checkHost(hostport string) error {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return errForbidden
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return checkAddr(ip)
	}
	return nil
}

// checkAddr refuses this machine, its links and the metadata services of
// clouds that lie at other addresses. Private networks are fine: a company's
// registry is there.
func checkAddr(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if b := ip.As16(); ip.Is6() && (netip.MustParsePrefix("64:ff9b::/96").Contains(ip) || netip.MustParsePrefix("::/96").Contains(ip)) {
		ip = netip.AddrFrom4([4]byte(b[12:])) // an IPv4 address within
	}
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		netip.MustParsePrefix("0.0.0.0/8").Contains(ip) ||
		ip == netip.MustParseAddr("100.100.100.200") || ip == netip.MustParseAddr("fd00:ec2::254") {
		return errForbidden
	}
	return nil
}

// guardedTransport connects to no address that checkAddr refuses, whatever
// name, redirect or token server led to it.
func guardedTransport() *http.Transport {
	d := &net.Dialer{
		Timeout: 5 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("dial %s: %w", address, err)
			}
			return checkAddr(at.Addr())
		},
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
	}
}

// bounded cuts replies off at maxReply.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxReply}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxReply)
	}
	return n, err
}
