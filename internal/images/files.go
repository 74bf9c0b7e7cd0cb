package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"longshore/internal/placement"
)

// manifest is an image's manifest or index as it came.
type manifest struct {
	mediaType string
	body      []byte
	digest    string
}

// header is the first line of a manifest's file, and the only line of a tag's.
type header struct {
	V      int    `json:"v"`                // [placement.Format]
	Type   string `json:"type,omitempty"`   // media type of the manifest that follows
	Digest string `json:"digest,omitempty"` // what a tag means
}

// encode is the content of the manifest's file.
func (m manifest) encode() ([]byte, error) {
	line, err := json.Marshal(header{V: placement.Format, Type: m.mediaType})
	if err != nil {
		return nil, fmt.Errorf("encode manifest header: %w", err)
	}
	return append(append(line, '\n'), m.body...), nil
}

// readManifest reads the manifest's file and checks it against its digest.
func readManifest(path, digest string) (manifest, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return manifest{}, err
	}
	line, body, _ := bytes.Cut(b, []byte{'\n'})
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return manifest{}, fmt.Errorf("decode %s: %w", path, err)
	}
	if h.V != placement.Format {
		return manifest{}, fmt.Errorf("decode %s: format %d, not %d", path, h.V, placement.Format)
	}
	if got := digestOf(body); got != digest {
		return manifest{}, fmt.Errorf("decode %s: content has digest %s", path, got)
	}
	return manifest{mediaType: h.Type, body: body, digest: digest}, nil
}

// readTag reads what a tag means.
func readTag(path string) (digest string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return "", fmt.Errorf("decode %s: %w", path, err)
	}
	if h.V != placement.Format || !digestForm.MatchString(h.Digest) {
		return "", fmt.Errorf("decode %s: no tag of format %d", path, placement.Format)
	}
	return h.Digest, nil
}

// writeFile makes path hold content, durably and at once: whoever opens it
// finds the old content or the new.
func writeFile(path string, content io.Reader) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// makeDir makes dir and its parents, durably.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
