package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"longshore/internal/placement"
)

// Destination is where images are pushed to.
type Destination struct {
	Registry string            // "http://host:port" or "https://host:port"
	Owner    string            // into whose repositories
	Client   http.RoundTripper // nil: one without proxy and without certificates
}

// Progress is told now and then, never twice at once, how many bytes have gone
// out of how many. total may grow, done may fall back when a layer is sent
// again; at the end of a push they are equal, and 0 for an image that was
// there. nil is fine.
type Progress func(done, total int64)

// Opener opens a tar file from its beginning. It is called several times.
type Opener func() (io.ReadCloser, error)

// FromFile opens the tar file at path.
func FromFile(path string) Opener { return func() (io.ReadCloser, error) { return os.Open(path) } }

// PushTar pushes one image out of a tar, as `docker save` or an OCI archive
// has it, under the owner's name for tag ("shop", "shop:1" or, for alice,
// "alice/shop:1"). A tar of several images must hold one of that tag; a single
// image may be named otherwise inside. It gives back the image's digest.
func PushTar(ctx context.Context, to Destination, tag string, open Opener, progress Progress) (digest string, err error) {
	ref, err := to.reference(tag)
	if err != nil {
		return "", err
	}
	what, done, err := openTar(ctx, open, to.Owner, tag)
	if err != nil {
		return "", err
	}
	digest, err = to.push(ctx, ref, what, progress)
	return digest, errors.Join(err, done())
}

// PushStream is PushTar for a tar that can be read only once, such as the
// output of `docker save`. It is kept in a temporary file meanwhile.
func PushStream(ctx context.Context, to Destination, tag string, r io.Reader, progress Progress) (digest string, err error) {
	if _, err := to.reference(tag); err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "longshore-image-*.tar")
	if err != nil {
		return "", fmt.Errorf("keep image: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = io.Copy(f, readerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(b)
	}))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("keep image: %w", err)
	}
	return PushTar(ctx, to, tag, FromFile(f.Name()), progress)
}

// readerFunc is a function that reads.
type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// reference is the place in the registry that tag means.
func (to Destination) reference(tag string) (name.Tag, error) {
	if err := placement.CheckName("owner", to.Owner); err != nil {
		return name.Tag{}, err
	}
	named, err := parseReference(tag)
	if err != nil {
		return name.Tag{}, err
	}
	repo, own := ownName(to.Owner, tag, named)
	tagged, isTagged := named.(reference.Tagged)
	if _, digested := named.(reference.Digested); !own || !isTagged || digested {
		return name.Tag{}, &placement.Error{
			Kind: placement.KindInvalid, What: fmt.Sprintf("image %s cannot be pushed to the cluster under this name", tag),
			Why:  fmt.Sprintf("images of %s there are called NAME:TAG or %s/NAME:TAG", to.Owner, RepositoryOwner(to.Owner)),
			Next: fmt.Sprintf("docker tag %s NAME:TAG; schedctl image push NAME:TAG", tag),
		}
	}
	u, err := url.Parse(to.Registry)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return name.Tag{}, &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("%q is no registry", to.Registry), Why: "a registry is http://HOST:PORT"}
	}
	opts := []name.Option{name.StrictValidation}
	if u.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	return name.NewTag(u.Host+"/"+repo+":"+tagged.Tag(), opts...)
}

// pushable is an image or an index of images.
type pushable interface {
	Digest() (v1.Hash, error)
	MediaType() (types.MediaType, error)
}

func (to Destination) push(ctx context.Context, ref name.Tag, what pushable, progress Progress) (digest string, err error) {
	way := to.Client
	if way == nil {
		t := &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second}
		defer t.CloseIdleConnections()
		way = t
	}
	updates, told := make(chan v1.Update, 16), make(chan struct{})
	total := int64(0)
	go func() {
		defer close(told)
		for u := range updates { // remote closes it
			if progress != nil && u.Error == nil {
				total = u.Total
				progress(u.Complete, u.Total)
			}
		}
	}()
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(way), remote.WithProgress(updates),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Steps: 3}),
	}
	switch w := what.(type) {
	case v1.Image:
		err = remote.Write(ref, w, opts...)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, w, opts...)
	default:
		close(updates)
		err = fmt.Errorf("%T is neither image nor index", what)
	}
	<-told
	if err != nil {
		return "", &placement.Error{
			Kind: placement.KindUnavailable, What: fmt.Sprintf("image %s was not pushed", ref.RepositoryStr()+":"+ref.TagStr()),
			Why: withCause(ctx, err).Error(), Next: "push it again: what has arrived is kept",
		}
	}
	if progress != nil {
		progress(total, total) // remote does not count all that was there already
	}
	h, err := what.Digest()
	return h.String(), err
}
