package pki

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"longshore/internal/placement"
)

// RevokedFile is the list of what is not trusted any more, beside the
// authority. It is text, a line each; what follows # is a remark:
//
//	agent/n7 2026-11-21T15:04:05Z      its certificates of before
//	serial 5f3a...                     one certificate, as openssl x509 -serial tells it
const RevokedFile = "revoked"

// Revoked is such a list as it was read.
type Revoked struct {
	names   map[Identity]time.Time // without a cluster
	serials map[string]bool
}

// ReadRevoked reads the list in dir. Where there is none nothing is revoked.
func ReadRevoked(dir string) (*Revoked, error) {
	path := filepath.Join(dir, RevokedFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what is revoked: %w", err)
	}
	r := &Revoked{names: map[Identity]time.Time{}, serials: map[string]bool{}}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if err := r.add(strings.Fields(text)); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
	}
	return r, lines.Err()
}

// add takes in one line.
func (r *Revoked) add(words []string) error {
	if len(words) == 0 {
		return nil
	}
	if len(words) != 2 {
		return fmt.Errorf("it has %d words, not 2", len(words))
	}
	if words[0] == "serial" {
		serial, err := parseSerial(words[1])
		r.serials[serial] = true
		return err
	}
	id, err := parseName(words[0])
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, words[1])
	if at.After(r.names[id]) {
		r.names[id] = at
	}
	return err
}

// parseName reads ROLE/NAME, of no cluster.
func parseName(s string) (Identity, error) {
	id, err := Parse("any", s)
	id.Cluster = ""
	return id, err
}

// parseSerial reads a number in hexadecimal, with or without colons.
func parseSerial(s string) (string, error) {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(s, ":", ""), 16)
	if !ok || n.Sign() <= 0 {
		return "", fmt.Errorf("%.60q is no serial number", s)
	}
	return n.Text(16), nil
}

// Check is the error of a certificate that is revoked, or nil.
func (r *Revoked) Check(cert *x509.Certificate) error {
	id, err := Of(cert)
	if err != nil {
		return err
	}
	id.Cluster = ""
	at, named := r.names[id]
	issued := cert.NotBefore.Add(backdate)
	if named = named && !issued.After(at); !named && !r.serials[cert.SerialNumber.Text(16)] {
		return nil
	}
	return &placement.Error{
		Kind: placement.KindRefused, What: fmt.Sprintf("the certificate of %s, of %s, is revoked", id, issued.Local().Format(time.DateTime)),
		Why: "an operator has said so; containers run on", Next: fmt.Sprintf("schedctl ca issue %s makes another, if it shall be let in again", id),
	}
}

// behind is from when a certificate that is issued now is good, so that it is
// not among those that were revoked by name within this very second:
// certificates and the list count in whole ones.
func (r *Revoked) behind(id Identity, from time.Time) time.Time {
	id.Cluster = ""
	issued := from.Add(backdate).Truncate(time.Second)
	at := r.names[id]
	if ahead := at.Sub(issued); ahead < 0 || ahead > backdate/2 {
		return from
	}
	return at.Add(time.Second - backdate)
}

// Revoke adds to the list of the authority in dir: ROLE/NAME, all of whose
// certificates up to now are worth nothing from then on, or the serial number
// of a single one. It returns the line that was added.
func Revoke(dir, what string) (line string, err error) {
	r, err := ReadRevoked(dir)
	if err != nil {
		return "", err // it is not made worse
	}
	if strings.Contains(what, "/") {
		id, err := parseName(what)
		if err != nil {
			return "", err
		}
		at := time.Now().Truncate(time.Second)
		if last := r.names[id]; !at.After(last) { // twice in a second: also what was issued in between
			at = last.Add(time.Second)
		}
		line = id.String() + " " + at.UTC().Format(time.RFC3339)
	} else {
		serial, err := parseSerial(what)
		if err != nil {
			return "", &placement.Error{Kind: placement.KindInvalid, What: "this cannot be revoked", Why: err.Error() + ", and no ROLE/NAME", Next: "give agent/n7, or what openssl x509 -serial says"}
		}
		line = "serial " + serial
	}
	path := filepath.Join(dir, RevokedFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(b) > 0 && !bytes.HasSuffix(b, []byte("\n")) {
		b = append(b, '\n')
	}
	return line, replace(path, append(b, line+"\n"...), 0o644)
}

// Watch is the list in a directory as it is now. A list that cannot be read
// leaves what was read before in use.
type Watch struct {
	dir    string
	logger *slog.Logger

	mu      sync.Mutex
	list    *Revoked
	file    fs.FileInfo
	changed chan struct{}
}

// WatchRevoked reads the list in dir; Run reads it again.
func WatchRevoked(dir string, logger *slog.Logger) (*Watch, error) {
	w := &Watch{dir: dir, logger: logger, changed: make(chan struct{})}
	w.file, _ = os.Stat(filepath.Join(dir, RevokedFile)) // of none there is none
	var err error
	w.list, err = ReadRevoked(dir)
	return w, err
}

// Check is the error of a certificate that is revoked, or nil.
func (w *Watch) Check(cert *x509.Certificate) error {
	w.mu.Lock()
	list := w.list
	w.mu.Unlock()
	return list.Check(cert)
}

// Changed is closed when the list is another than now.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Run looks at the file once a second until ctx ends, and then returns nil.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look()
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *Watch) look() {
	file, err := os.Stat(filepath.Join(w.dir, RevokedFile))
	if err != nil || w.file != nil && same(file, w.file) {
		return
	}
	w.file = file
	list, err := ReadRevoked(w.dir)
	if err != nil {
		w.logger.Error("what was revoked before stays revoked, and no more", "err", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = list
	close(w.changed)
	w.changed = make(chan struct{})
}
