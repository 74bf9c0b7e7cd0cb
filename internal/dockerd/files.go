package dockerd

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const rootFile = "longshore-root" // in the data-root: its identity

// writeDurable replaces path by rename; when it returns, the content and the
// name are on disk.
func writeDurable(path, content string, mode os.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// makeDirs makes the directories and files of an owner's daemon. The owner
// file is durable before anything of the daemon exists, so that no daemon is
// ever forgotten.
func makeDirs(p paths, owner string) error {
	for _, d := range []string{p.state, p.root, p.run, p.exec} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return fmt.Errorf("make directories of daemon: %w", err)
		}
	}
	if err := os.Chmod(p.state, 0o700); err != nil {
		return fmt.Errorf("make directories of daemon: %w", err)
	}
	files := []struct{ path, content string }{
		{filepath.Join(p.state, "owner"), owner + "\n"},
		{filepath.Join(p.state, "daemon.json"), "{}\n"},
	}
	if _, err := readRoot(p); os.IsNotExist(err) {
		var id [16]byte
		rand.Read(id[:])
		files = append(files, struct{ path, content string }{filepath.Join(p.root, rootFile), hex.EncodeToString(id[:]) + "\n"})
	}
	for _, f := range files {
		if b, err := os.ReadFile(f.path); err == nil && string(b) == f.content {
			continue
		}
		if err := writeDurable(f.path, f.content, 0o600); err != nil {
			return fmt.Errorf("make files of daemon: %w", err)
		}
	}
	if err := syncDir(filepath.Dir(p.state)); err != nil {
		return fmt.Errorf("make directories of daemon: %w", err)
	}
	return nil
}

// readRoot is the identity of the data-root: it changes when the data-root is
// another one, and with it every container in it.
func readRoot(p paths) (string, error) {
	b, err := os.ReadFile(filepath.Join(p.root, rootFile))
	return strings.TrimSpace(string(b)), err
}

// lockRoot takes the owner's daemon for this process until the file is closed.
// Two processes that supervise one daemon would take each other's socket away.
func lockRoot(p paths) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(p.state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock daemon: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock daemon: another process supervises %s: %w", p.state, err)
	}
	return f, nil
}

// unlockRoot unlocks in so many words: a child that was forked and has not come
// to its exec yet holds the file open too.
func unlockRoot(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // closing is what is left
	f.Close()
}

// logTail is the end of a daemon's log, for errors.
func logTail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
