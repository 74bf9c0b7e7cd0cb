package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"longshore/internal/placement"
)

// replaceFile puts content at path, 0600, by rename: a reader, also one after
// a crash of this process, finds the old content or the new. With sync the new
// content also outlives a crash of the machine once replaceFile has returned.
func replaceFile(path string, content []byte, sync bool) error {
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	if sync {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockDir makes dir and takes it for this process alone. The lock ends with
// the process at the latest, or when the file is closed.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &placement.Error{
				Kind: placement.KindRefused,
				What: "another agent is running with " + dir,
				Why:  "it holds the lock on " + path,
				Next: "stop it first, or give this one a state directory of its own",
			}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// pen is a lock for slow things such as files: who holds it writes. Unlike a
// mutex it gives up when the context ends.
type pen chan struct{}

func newPen() pen { return make(pen, 1) }

func (p pen) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err() // select would choose by chance
	}
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p pen) put() { <-p }
