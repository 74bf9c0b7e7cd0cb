package dockerd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
)

const pauseRepository = "longshore/pause"

// ensurePause imports the pause program as an image of that one file, unless
// it is there. No registry is needed.
func (d *daemon) ensurePause(ctx context.Context, c *conn) (ref string, err error) {
	program, err := os.ReadFile(d.h.cfg.PausePath)
	if err != nil {
		return "", fmt.Errorf("read pause program: %w", err)
	}
	sum := sha256.Sum256(program)
	tag := hex.EncodeToString(sum[:6])
	ref = pauseRepository + ":" + tag
	if _, err := c.ImageInspect(ctx, ref); err == nil || !errdefs.IsNotFound(err) {
		return ref, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = errors.Join(w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program))}))
	if _, e := w.Write(program); err == nil {
		err = e
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", fmt.Errorf("pack pause image: %w", err)
	}
	body, err := c.ImageImport(ctx, image.ImportSource{Source: &archive, SourceName: "-"}, pauseRepository,
		image.ImportOptions{Tag: tag, Changes: []string{`ENTRYPOINT ["/pause"]`}})
	if err != nil {
		return "", fmt.Errorf("import pause image: %w", err)
	}
	defer body.Close()
	if err := readStream(body, func(streamed) {}); err != nil {
		return "", fmt.Errorf("import pause image: %w", err)
	}
	return ref, nil
}

// streamed is one message of Docker's answer to a pull or an import.
type streamed struct {
	ID       string `json:"id"` // of a layer
	Status   string `json:"status"`
	Progress struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
	Error string `json:"error"`
}

// readStream hands each message to f until the end; a message that bears an
// error ends it with that.
func readStream(r io.Reader, f func(streamed)) error {
	for dec := json.NewDecoder(r); ; {
		var m streamed
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(m.Error)
		}
		f(m)
	}
}
