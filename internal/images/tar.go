package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"longshore/internal/placement"
)

// openTar finds the owner's image called tag in a tar. done must be called
// when it is no longer needed.
func openTar(ctx context.Context, open Opener, owner, tag string) (what pushable, done func() error, err error) {
	names, err := topNames(ctx, open)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) || ctx.Err() != nil {
		return nil, nil, fmt.Errorf("read image: %w", err)
	}
	if err != nil {
		return nil, nil, notATar(err.Error())
	}
	switch {
	case slices.Contains(names, "manifest.json"): // docker save, also where it is an OCI archive as well
		what, err := openSaved(open, owner, tag)
		return what, func() error { return nil }, err
	case slices.Contains(names, "index.json"):
		return openArchive(ctx, open, owner, tag)
	}
	return nil, nil, notATar("it has neither a manifest.json nor an index.json")
}

func notATar(why string) error {
	return &placement.Error{Kind: placement.KindInvalid, What: "this is no tar of an image", Why: why, Next: "docker save NAME:TAG > image.tar makes one"}
}

// topNames is the names of the files at the top of the tar.
func topNames(ctx context.Context, open Opener) (names []string, err error) {
	err = eachFile(ctx, open, func(h *tar.Header, _ io.Reader) error {
		if n := path.Clean(h.Name); !strings.Contains(n, "/") {
			names = append(names, n)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = errors.New("it is empty")
	}
	return names, err
}

func eachFile(ctx context.Context, open Opener, do func(h *tar.Header, content io.Reader) error) (err error) {
	f, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := do(h, tr); err != nil {
			return err
		}
	}
}

// pick chooses, among images with the names that a tar gives them, the owner's
// image called tag: the one of that name, or else the only one.
func pick(names [][]string, owner, tag string) (int, error) {
	want, err := parseReference(tag)
	if err != nil {
		return 0, err
	}
	var all []string
	for i, of := range names {
		for _, n := range of {
			all = append(all, n)
			have, err := reference.ParseNormalizedNamed(n)
			if err != nil {
				continue
			}
			have = reference.TagNameOnly(have)
			if have.String() == want.String() {
				return i, nil
			}
			wanted, ok1 := ownName(owner, tag, want)
			had, ok2 := ownName(owner, reference.FamiliarString(have), have)
			if ok1 && ok2 && wanted == had && identifier(have) == identifier(want) {
				return i, nil
			}
		}
	}
	if len(names) == 1 {
		return 0, nil
	}
	return 0, &placement.Error{
		Kind: placement.KindNotFound, What: fmt.Sprintf("the tar holds no image %s", tag),
		Why: fmt.Sprintf("it holds %d: %s", len(names), enumerate(all, 8)), Next: "push one of these, or a tar of one image",
	}
}

// openSaved opens what `docker save` wrote.
func openSaved(open Opener, owner, tag string) (pushable, error) {
	list, err := tarball.LoadManifest(tarball.Opener(open))
	if err != nil {
		return nil, notATar(err.Error())
	}
	names := make([][]string, len(list))
	for i, d := range list {
		names[i] = d.RepoTags
	}
	i, err := pick(names, owner, tag)
	if err != nil {
		return nil, err
	}
	var which *name.Tag
	if len(list) > 1 {
		t, err := name.NewTag(list[i].RepoTags[0]) // picked by a name, so it has one
		if err != nil {
			return nil, notATar(err.Error())
		}
		which = &t
	}
	image, err := tarball.Image(tarball.Opener(open), which)
	if err != nil {
		return nil, notATar(err.Error())
	}
	return image, nil
}

// openArchive opens an OCI archive, unpacked into a temporary directory until
// done is called.
func openArchive(ctx context.Context, open Opener, owner, tag string) (what pushable, done func() error, err error) {
	dir, err := os.MkdirTemp("", "longshore-image-*")
	if err != nil {
		return nil, nil, fmt.Errorf("unpack image: %w", err)
	}
	done = func() error { return os.RemoveAll(dir) }
	if err := unpack(ctx, open, dir); err != nil {
		return nil, nil, errors.Join(notATar(err.Error()), done())
	}
	if what, err = openLayout(dir, owner, tag); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return what, done, nil
}

// unpack writes the files that an OCI archive consists of, and no others.
func unpack(ctx context.Context, open Opener, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		return err
	}
	return eachFile(ctx, open, func(h *tar.Header, content io.Reader) error {
		n := path.Clean(h.Name)
		digest, isBlob := strings.CutPrefix(n, "blobs/sha256/")
		wanted := n == "index.json" || n == "oci-layout" || isBlob && digestForm.MatchString("sha256:"+digest)
		if h.Typeflag != tar.TypeReg || !wanted {
			return nil
		}
		f, err := os.Create(filepath.Join(dir, filepath.FromSlash(n)))
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	})
}

func openLayout(dir, owner, tag string) (pushable, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, notATar(err.Error())
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, notATar(err.Error())
	}
	if len(list.Manifests) == 0 {
		return nil, notATar("its index.json names no image")
	}
	names := make([][]string, len(list.Manifests))
	for i, d := range list.Manifests {
		names[i] = archiveNames(d, tag)
	}
	i, err := pick(names, owner, tag)
	if err != nil {
		return nil, err
	}
	d := list.Manifests[i]
	var what pushable
	if d.MediaType.IsIndex() {
		what, err = index.ImageIndex(d.Digest)
	} else {
		what, err = index.Image(d.Digest)
	}
	if err != nil {
		return nil, notATar(err.Error())
	}
	return what, nil
}

// archiveNames is how an archive calls an image: by its full name, or by no
// more than a tag, which is then one of the name that is looked for.
func archiveNames(d v1.Descriptor, tag string) (names []string) {
	if n := d.Annotations["io.containerd.image.name"]; n != "" {
		names = append(names, n)
	}
	if n := d.Annotations["org.opencontainers.image.ref.name"]; n != "" {
		if tagForm.MatchString(n) {
			if named, err := reference.ParseNormalizedNamed(tag); err == nil {
				n = reference.FamiliarName(named) + ":" + n
			}
		}
		names = append(names, n)
	}
	return names
}
