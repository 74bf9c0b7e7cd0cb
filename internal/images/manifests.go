package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"longshore/internal/placement"
)

func (r *Registry) file(repo, ref string) string {
	return filepath.Join(r.dir, "manifests", filepath.FromSlash(repo), ref)
}

// find is the manifest that a tag or a digest of repo names; fs.ErrNotExist if
// there is none.
func (r *Registry) find(repo, ref string) (manifest, error) {
	digest := ref
	if !digestForm.MatchString(ref) {
		var err error
		if digest, err = readTag(r.file(repo, ref)); err != nil {
			return manifest{}, err
		}
	}
	return readManifest(r.file(repo, digest), digest)
}

// putManifest stores a manifest: on disk first, then in memory, then answered.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, t target) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("read manifest: %v (the limit is %d bytes)", err, maxManifest))
		return
	}
	m := manifest{mediaType: req.Header.Get("Content-Type"), body: body, digest: digestOf(body)}
	if digestForm.MatchString(t.ref) && t.ref != m.digest {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the manifest has digest %s", m.digest))
		return
	}
	if code, err := r.checkManifest(req.Context(), t.repo, m); err != nil {
		refuse(w, http.StatusBadRequest, code, err.Error())
		return
	}
	select {
	case <-r.turn:
		defer func() { r.turn <- struct{}{} }()
	case <-req.Context().Done():
		return
	}
	if err := r.save(t, m); err != nil {
		r.log.Error("manifest not stored", "repo", t.repo, "ref", t.ref, "err", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the registry cannot store the manifest")
		return
	}
	a := r.call(context.WithoutCancel(req.Context()), http.MethodPut, t.path(), m.mediaType, bytes.NewReader(m.body))
	a.header.Set("Location", target{kind: kindManifest, repo: t.repo, ref: m.digest}.path())
	a.send(w)
}

// headManifest tells whether a manifest is here with all its parts. Pushers ask
// it; where a part is missing or damaged they must send all of it again.
func (r *Registry) headManifest(w http.ResponseWriter, req *http.Request, t target) {
	m, err := r.find(t.repo, t.ref)
	if err == nil {
		_, err = r.checkManifest(req.Context(), t.repo, m)
	}
	if err != nil {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest here, or not all of it")
		return
	}
	r.call(req.Context(), http.MethodHead, t.path(), "", nil).send(w)
}

// checkManifest refuses a manifest that could never be pulled: not one, or
// with parts that are not here.
func (r *Registry) checkManifest(ctx context.Context, repo string, m manifest) (code string, err error) {
	switch mt := types.MediaType(m.mediaType); {
	case mt.IsIndex():
		index, err := v1.ParseIndexManifest(bytes.NewReader(m.body))
		if err != nil {
			return "MANIFEST_INVALID", fmt.Errorf("parse index: %w", err)
		}
		for _, d := range index.Manifests {
			if _, err := os.Stat(r.file(repo, d.Digest.String())); err != nil && (d.MediaType.IsIndex() || d.MediaType.IsImage()) {
				return "MANIFEST_UNKNOWN", fmt.Errorf("manifest %s of the index has not been pushed", d.Digest)
			}
		}
	case mt.IsImage():
		image, err := v1.ParseManifest(bytes.NewReader(m.body))
		if err != nil {
			return "MANIFEST_INVALID", fmt.Errorf("parse manifest: %w", err)
		}
		for _, d := range append([]v1.Descriptor{image.Config}, image.Layers...) {
			if !d.MediaType.IsDistributable() {
				continue
			}
			if _, err := r.blobs.Stat(ctx, repo, d.Digest); errors.Is(err, registry.ErrNotFound) {
				return "MANIFEST_BLOB_UNKNOWN", fmt.Errorf("blob %s of the manifest has not been pushed", d.Digest)
			} else if err != nil {
				return "UNKNOWN", fmt.Errorf("check blob %s: %w", d.Digest, err)
			}
		}
	default:
		return "MANIFEST_INVALID", fmt.Errorf("%q is not the type of an image or an index", m.mediaType)
	}
	return "", nil
}

// save makes the manifest, and the tag if it came under one, durable.
func (r *Registry) save(t target, m manifest) error {
	content, err := m.encode()
	if err != nil {
		return err
	}
	if err := writeFile(r.file(t.repo, m.digest), bytes.NewReader(content)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if t.ref == m.digest {
		return nil
	}
	line, err := json.Marshal(header{V: placement.Format, Digest: m.digest})
	if err != nil {
		return fmt.Errorf("encode tag: %w", err)
	}
	if err := writeFile(r.file(t.repo, t.ref), bytes.NewReader(line)); err != nil {
		return fmt.Errorf("write tag: %w", err)
	}
	return nil
}

// deleteManifest removes a tag, or a manifest with every tag that means it.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, t target) {
	select {
	case <-r.turn:
		defer func() { r.turn <- struct{}{} }()
	case <-req.Context().Done():
		return
	}
	ctx := context.WithoutCancel(req.Context())
	refs := []string{t.ref}
	if digestForm.MatchString(t.ref) {
		refs = append(r.tagsOf(t.repo, t.ref), t.ref) // tags first: a tag never means what is gone
	}
	var a *answer
	for _, ref := range refs {
		if err := os.Remove(r.file(t.repo, ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Error("manifest not removed", "repo", t.repo, "ref", ref, "err", err)
			refuse(w, http.StatusInternalServerError, "UNKNOWN", "the registry cannot remove the manifest")
			return
		}
		a = r.call(ctx, http.MethodDelete, target{kind: kindManifest, repo: t.repo, ref: ref}.path(), "", nil)
	}
	if err := syncDir(filepath.Dir(r.file(t.repo, t.ref))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Error("removal of manifest not synced", "repo", t.repo, "ref", t.ref, "err", err)
	}
	a.send(w)
}

// tagsOf is the tags of repo that mean digest.
func (r *Registry) tagsOf(repo, digest string) (tags []string) {
	files, _ := os.ReadDir(filepath.Dir(r.file(repo, digest))) // no directory, no tags
	for _, f := range files {
		if d, err := readTag(r.file(repo, f.Name())); tagForm.MatchString(f.Name()) && err == nil && d == digest {
			tags = append(tags, f.Name())
		}
	}
	return tags
}

// load puts every manifest on disk into go-containerregistry's memory: images,
// then the indexes that need them, then the tags.
func (r *Registry) load(ctx context.Context) error {
	var images, indexes, tags []target
	root := filepath.Join(r.dir, "manifests")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if strings.HasPrefix(e.Name(), ".new-") { // of a push that was cut off
			return os.Remove(path)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		repo, ref := filepath.ToSlash(filepath.Dir(rel)), e.Name()
		t, err := parsePath("/v2/" + repo + "/manifests/" + ref)
		switch {
		case err != nil:
			r.log.Warn("foreign file in registry left alone", "path", path)
		case tagForm.MatchString(ref):
			tags = append(tags, t)
		default:
			m, err := readManifest(path, ref)
			if err != nil {
				r.log.Error("manifest left out", "repo", repo, "ref", ref, "err", err)
			} else if types.MediaType(m.mediaType).IsIndex() {
				indexes = append(indexes, t)
			} else {
				images = append(images, t)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.restore(ctx, images, true)
	for waiting := indexes; len(waiting) > 0; { // an index may hold an index
		left := r.restore(ctx, waiting, false)
		if len(left) == len(waiting) {
			r.restore(ctx, left, true)
			break
		}
		waiting = left
	}
	r.restore(ctx, tags, true)
	return nil
}

// restore puts manifests into memory and gives back those that could not be;
// say tells whether that is worth a log line.
func (r *Registry) restore(ctx context.Context, ts []target, say bool) (left []target) {
	for _, t := range ts {
		m, err := r.find(t.repo, t.ref)
		if err == nil {
			a := r.call(ctx, http.MethodPut, t.path(), m.mediaType, bytes.NewReader(m.body))
			if a.code == http.StatusCreated {
				continue
			}
			err = errors.New(a.body.String())
		}
		left = append(left, t)
		if say {
			r.log.Error("manifest left out", "repo", t.repo, "ref", t.ref, "err", err)
		}
	}
	return left
}
