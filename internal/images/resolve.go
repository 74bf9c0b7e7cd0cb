package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"longshore/internal/placement"
)

// maxConfig bounds an image's configuration, in bytes.
const maxConfig = 8 << 20

// Resolved is what an image's name meant at one moment.
type Resolved struct {
	Image  string   // as placement.Request.Image wants it: "owner/name@sha256:..." or "host/name@sha256:..."
	Digest string   // the end of Image; of the index, for an image of several platforms
	Own    bool     // it lies in the cluster's registry
	Listen []uint16 // TCP ports that the image declares (EXPOSE), sorted
}

// Resolve says what ref means for owner, now. A reference without a registry's
// host is looked up among the owner's own images in the cluster first, and
// then, like any other, in the registry it names, docker.io by default. It
// takes at most Options.RemoteTimeout. Whatever goes wrong is a
// *placement.Error.
func (r *Registry) Resolve(ctx context.Context, owner, ref string) (Resolved, error) {
	if err := placement.CheckName("owner", owner); err != nil {
		return Resolved{}, err
	}
	named, err := parseReference(ref)
	if err != nil {
		return Resolved{}, err
	}
	own, local := ownName(owner, ref, named)
	if local {
		m, err := r.find(own, identifier(named))
		if !errors.Is(err, fs.ErrNotExist) {
			var found Resolved
			if err == nil {
				found, err = r.describe(ctx, own, m)
			}
			if err != nil {
				return Resolved{}, &placement.Error{Kind: placement.KindUnavailable, What: fmt.Sprintf("image %s cannot be read from the cluster's registry", ref), Why: err.Error(), Next: "schedctl image push " + ref}
			}
			return found, nil
		}
	}
	found, err := r.resolveRemote(ctx, named)
	if err == nil {
		return found, nil
	}
	if !local {
		return Resolved{}, remoteError(ref, named, err)
	}
	why := owner + " has no images there"
	if have := r.List(owner); len(have) > 0 {
		why = owner + " has there: " + enumerate(have, 8)
	}
	return Resolved{}, &placement.Error{
		Kind: placement.KindNotFound,
		What: fmt.Sprintf("image %s is not in the cluster's registry", ref),
		Why:  fmt.Sprintf("%s; %s", why, remoteWhy(named, err)),
		Next: "schedctl image push " + ref,
	}
}

// parseReference reads an image's name, with a tag or a digest; without
// either the tag is "latest".
func parseReference(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err == nil {
		named = reference.TagNameOnly(named)
		if d, ok := named.(reference.Digested); ok && !digestForm.MatchString(d.Digest().String()) {
			err = errors.New("only sha256 digests are supported")
		}
	}
	if err != nil {
		return nil, &placement.Error{
			Kind: placement.KindInvalid, What: fmt.Sprintf("%.100q names no image", ref), Why: err.Error(),
			Next: "write NAME, NAME:TAG, NAME@sha256:DIGEST, or HOST/NAME:TAG for another registry",
		}
	}
	return named, nil
}

// hasHost tells whether ref begins with a registry's host, by Docker's rule.
func hasHost(ref string) bool {
	first, _, slash := strings.Cut(ref, "/")
	return slash && (strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first)
}

// ownName is the repository that ref names among the owner's own, if it can.
func ownName(owner, ref string, named reference.Named) (repo string, ok bool) {
	if hasHost(ref) {
		return "", false
	}
	path := reference.Path(named)
	if !strings.Contains(ref, "/") {
		path = strings.TrimPrefix(path, "library/")
	} else if rest, own := strings.CutPrefix(path, RepositoryOwner(owner)+"/"); own {
		path = rest
	} else {
		return "", false
	}
	if !namePart.MatchString(path) { // more components
		return "", false
	}
	return RepositoryOwner(owner) + "/" + path, true
}

// identifier is the digest of named, or else its tag.
func identifier(named reference.Named) string {
	if d, ok := named.(reference.Digested); ok {
		return d.Digest().String()
	}
	if t, ok := named.(reference.Tagged); ok {
		return t.Tag()
	}
	return "latest"
}

// describe reads what a manifest of the cluster's registry says of its image.
func (r *Registry) describe(ctx context.Context, repo string, m manifest) (Resolved, error) {
	found := Resolved{Image: repo + "@" + m.digest, Digest: m.digest, Own: true}
	for depth := 0; types.MediaType(m.mediaType).IsIndex(); depth++ {
		index, err := v1.ParseIndexManifest(bytes.NewReader(m.body))
		if err != nil {
			return Resolved{}, fmt.Errorf("parse index %s: %w", m.digest, err)
		}
		d, ok := choose(index, r.want)
		if !ok || depth == 3 {
			return found, nil // nothing here that declares ports
		}
		if m, err = r.find(repo, d.Digest.String()); err != nil {
			return Resolved{}, fmt.Errorf("read manifest %s of index: %w", d.Digest, err)
		}
	}
	image, err := v1.ParseManifest(bytes.NewReader(m.body))
	if err != nil {
		return Resolved{}, fmt.Errorf("parse manifest %s: %w", m.digest, err)
	}
	config, err := r.config(ctx, repo, image.Config.Digest)
	if err != nil {
		return Resolved{}, err
	}
	found.Listen = listen(config)
	return found, nil
}

// config reads an image's configuration out of the blobs.
func (r *Registry) config(ctx context.Context, repo string, h v1.Hash) (*v1.ConfigFile, error) {
	_, err := r.blobs.Stat(ctx, repo, h)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, fmt.Errorf("its configuration %s is missing or damaged", h)
	} else if err != nil {
		return nil, fmt.Errorf("check configuration %s: %w", h, err)
	}
	f, err := r.blobs.Get(ctx, repo, h)
	if err != nil {
		return nil, fmt.Errorf("open configuration %s: %w", h, err)
	}
	defer func() { _ = f.Close() }() // only read
	var c v1.ConfigFile
	if err := json.NewDecoder(io.LimitReader(f, maxConfig)).Decode(&c); err != nil {
		return nil, fmt.Errorf("decode configuration %s: %w", h, err)
	}
	return &c, nil
}

// choose picks the manifest for the platform out of an index, or else its
// first one for any. Attestations, which name no platform, are passed over.
func choose(index *v1.IndexManifest, want v1.Platform) (d v1.Descriptor, ok bool) {
	var first *v1.Descriptor
	for i, d := range index.Manifests {
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() || d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		if d.Platform != nil && d.Platform.Satisfies(want) {
			return d, true
		}
		if first == nil {
			first = &index.Manifests[i]
		}
	}
	if first == nil {
		return v1.Descriptor{}, false
	}
	return *first, true
}

// listen is the TCP ports that the image declares, sorted.
func listen(c *v1.ConfigFile) []uint16 {
	var ports []uint16
	for declared := range c.Config.ExposedPorts {
		number, proto, _ := strings.Cut(declared, "/")
		if proto != "" && !strings.EqualFold(proto, "tcp") {
			continue
		}
		low, high, isRange := strings.Cut(number, "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.ParseUint(low, 10, 16)
		to, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || from == 0 { // not a port: Docker ignores it too
			continue
		}
		for p := from; p <= to; p++ {
			ports = append(ports, uint16(p))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// enumerate lists at most n of the names.
func enumerate(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
