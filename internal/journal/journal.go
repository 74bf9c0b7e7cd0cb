package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"longshore/rpc"
)

// format is the version of the files. History:
//
//	1  2026-11  first format
const format = 1

const (
	begun = ".begun"
	ended = ".ended"
	next  = ".next" // of a file that is being written
)

type beginning struct {
	V      int    `json:"v"`
	Caller string `json:"caller"`
	Method string `json:"method"`
	Key    string `json:"key"`
	Args   []byte `json:"args"` // SHA-256
}

type ending struct {
	V      int           `json:"v"`
	Boot   string        `json:"boot"`
	At     time.Duration `json:"at"` // since that boot
	Result []byte        `json:"result,omitempty"`
	Name   string        `json:"name,omitempty"`
	Failed string        `json:"failed,omitempty"`
}

// Journal is an [rpc.OnceStore] in a directory. Its methods may be called from
// any goroutine.
type Journal struct {
	dir    string
	boot   string
	logger *slog.Logger
}

// Open makes the directory, 0700, if it is not there. One process at a time may
// have it open; nothing is to be closed.
func Open(dir string, logger *slog.Logger) (*Journal, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("ask which boot this is: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	return &Journal{dir: dir, boot: strings.TrimSpace(string(boot)), logger: logger}, nil
}

// Load is all calls that were begun. A file that cannot be read is told in the
// log, and its key is not known any more.
func (j *Journal) Load() (all []rpc.OnceRecord, err error) {
	files, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	for _, f := range files {
		name, isBegun := strings.CutSuffix(f.Name(), begun)
		switch {
		case isBegun:
			if rec, err := j.load(name); err != nil {
				j.logger.Error("a call with an idempotency key cannot be read, and may run again", "file", f.Name(), "err", err)
			} else {
				all = append(all, rec)
			}
		case strings.HasSuffix(f.Name(), next):
			err = errors.Join(err, os.Remove(filepath.Join(j.dir, f.Name())))
		}
	}
	return all, err
}

// load reads one call. An end that cannot be read is none.
func (j *Journal) load(name string) (rec rpc.OnceRecord, err error) {
	var b beginning
	if err := j.read(name+begun, &b); err != nil {
		return rec, err
	}
	if b.V != format || len(b.Args) != len(rec.Args) {
		return rec, fmt.Errorf("it has format %d, this program reads %d", b.V, format)
	}
	rec.OnceID = rpc.OnceID{Caller: b.Caller, Method: b.Method, Key: b.Key}
	rec.Args = [sha256.Size]byte(b.Args)
	var e ending
	if err := j.read(name+ended, &e); err != nil || e.V != format {
		if !errors.Is(err, fs.ErrNotExist) {
			j.logger.Error("the end of a call with an idempotency key cannot be read", "method", b.Method, "key", b.Key, "format", e.V, "err", err)
		}
		return rec, nil
	}
	rec.Ended, rec.Result, rec.Name, rec.Failed = true, e.Result, e.Name, e.Failed
	if e.Boot == j.boot {
		rec.Age = uptime() - e.At
		return rec, nil
	}
	return rec, j.End(rec) // from now on
}

// Begin is of [rpc.OnceStore].
func (j *Journal) Begin(r rpc.OnceRecord) error {
	return j.write(file(r.OnceID)+begun, beginning{V: format, Caller: r.Caller, Method: r.Method, Key: r.Key, Args: r.Args[:]})
}

// End is of [rpc.OnceStore].
func (j *Journal) End(r rpc.OnceRecord) error {
	err := j.write(file(r.OnceID)+ended, ending{V: format, Boot: j.boot, At: uptime(), Result: r.Result, Name: r.Name, Failed: r.Failed})
	if err != nil {
		j.logger.Error("what came of a call with an idempotency key is kept in memory only", "method", r.Method, "key", r.Key, "err", err)
	}
	return err
}

// Shed is of [rpc.OnceStore].
func (j *Journal) Shed(id rpc.OnceID) { j.remove(file(id) + ended) }

// Drop is of [rpc.OnceStore].
func (j *Journal) Drop(id rpc.OnceID) {
	j.remove(file(id) + begun) // first: an end alone is nothing
	j.remove(file(id) + ended)
}

func (j *Journal) remove(name string) {
	if err := os.Remove(filepath.Join(j.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.logger.Error("a call with an idempotency key cannot be forgotten", "err", err)
	}
}

// file is what the files of a key are called.
func file(id rpc.OnceID) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", id.Caller, id.Method, id.Key))
	return hex.EncodeToString(sum[:])
}

func (j *Journal) read(name string, into any) error {
	b, err := os.ReadFile(filepath.Join(j.dir, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// write puts a file in place, durably.
func (j *Journal) write(name string, content any) error {
	b, err := json.Marshal(content)
	if err != nil {
		return err
	}
	path := filepath.Join(j.dir, name)
	f, err := os.OpenFile(path+next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+next, path)
	}
	if err != nil {
		_ = os.Remove(path + next) // what matters is that it could not be written
		return err
	}
	d, err := os.Open(j.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// uptime is the time since the machine's boot, also that in which it slept.
func uptime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // every Linux that runs Docker has it
	return time.Duration(t.Nano())
}
