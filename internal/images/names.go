package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"longshore/internal/placement"
)

var (
	ownerPart  = regexp.MustCompile(`^[a-z0-9]+(?:(?:_|__|-+)[a-z0-9]+)*$`)
	namePart   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	tagForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	uploadForm = regexp.MustCompile(`^[A-Z2-7]{26}$`) // as crypto/rand.Text makes them
)

// RepositoryOwner is the first component of the repositories of owner: the
// owner's own name wherever a repository may bear it. Repository names are
// lower case and separate words singly, names of owners need not ("Ann",
// "a___b"); such an owner gets a longer one that no owner's name can equal.
func RepositoryOwner(owner string) string {
	if ownerPart.MatchString(owner) {
		return owner
	}
	sum := sha256.Sum256([]byte(owner))
	return "owner-" + hex.EncodeToString(sum[:]) // 70 characters; an owner's name has at most 63
}

// checkOwner says why part cannot be the first component of a repository.
func checkOwner(part string) error {
	if rest, long := strings.CutPrefix(part, "owner-"); long && digestForm.MatchString("sha256:"+rest) {
		return nil
	}
	return placement.CheckName("owner", part)
}

// What a path of the registry's protocol names.
type kind int

const (
	kindRoot     kind = iota // /v2/
	kindManifest             // /v2/<repo>/manifests/<tag or digest>
	kindBlob                 // /v2/<repo>/blobs/<digest>
	kindUploads              // /v2/<repo>/blobs/uploads/
	kindUpload               // /v2/<repo>/blobs/uploads/<id>
	kindTags                 // /v2/<repo>/tags/list
)

// target is a checked path: every part of it is safe as a file name.
type target struct {
	kind  kind
	owner string
	repo  string // owner/name
	ref   string // tag, digest or upload id
}

// parsePath reads a path of the registry's protocol. Whatever is not exactly
// of one of the forms above, with a repository of two components, is refused.
func parsePath(path string) (target, error) {
	if path == "/v2" || path == "/v2/" {
		return target{kind: kindRoot}, nil
	}
	bad := fmt.Errorf("%q is no path of this registry: repositories are OWNER/NAME", path)
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok || len(path) > 1024 {
		return target{}, bad
	}
	p := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	if len(p) < 4 || len(p) > 5 || !ownerPart.MatchString(p[0]) || !namePart.MatchString(p[1]) || len(p[0]) > 128 || len(p[1]) > 128 {
		return target{}, bad
	}
	t := target{owner: p[0], repo: p[0] + "/" + p[1], ref: p[len(p)-1]}
	switch {
	case len(p) == 4 && p[2] == "manifests" && (tagForm.MatchString(t.ref) || digestForm.MatchString(t.ref)):
		t.kind = kindManifest
	case len(p) == 4 && p[2] == "blobs" && digestForm.MatchString(t.ref):
		t.kind = kindBlob
	case len(p) == 4 && p[2] == "blobs" && t.ref == "uploads":
		t.kind, t.ref = kindUploads, ""
	case len(p) == 5 && p[2] == "blobs" && p[3] == "uploads" && uploadForm.MatchString(t.ref):
		t.kind = kindUpload
	case len(p) == 4 && p[2] == "tags" && t.ref == "list":
		t.kind, t.ref = kindTags, ""
	default:
		return target{}, bad
	}
	return t, nil
}

// path is the inverse of parsePath.
func (t target) path() string {
	switch t.kind {
	case kindRoot:
		return "/v2/"
	case kindManifest:
		return "/v2/" + t.repo + "/manifests/" + t.ref
	case kindBlob:
		return "/v2/" + t.repo + "/blobs/" + t.ref
	case kindUploads:
		return "/v2/" + t.repo + "/blobs/uploads/"
	case kindUpload:
		return "/v2/" + t.repo + "/blobs/uploads/" + t.ref
	case kindTags:
		return "/v2/" + t.repo + "/tags/list"
	}
	panic("no such kind of path")
}

// digestOf is the digest of b, as registries write it.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
