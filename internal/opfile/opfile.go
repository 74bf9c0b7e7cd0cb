// Package opfile is the one small file in which an agent says how far it has
// come, for hostinfo to read before it lists.
//
// The file lies on a tmpfs, so that a boot takes it away, and is replaced by
// rename, so that a reader finds the old one or the new one, whole:
//
//	{"v":1,"cluster":"...","node":"n1","session":7,"op":42}
//
// Invariants:
//   - The agent alone writes it, after the change in Docker is done and before
//     the bind is sent. So whoever reads the file and *then* lists the
//     containers sees all that (session, op) speaks of.
//   - No readable file means that nothing is known: a report may then show
//     presence, never absence.
package opfile

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"longshore/internal/placement"
)

// Format is the version of the file. History:
//
//	1  2026-11  first format
const Format = 1

// Name is what the file is called in its directory.
const Name = "op"

// Op is the content of the file. Session 0 means that the agent is not
// registered; such a file is not written.
type Op struct {
	V       int              `json:"v"` // [Format]
	Cluster string           `json:"cluster"`
	Node    placement.NodeID `json:"node"`
	Session uint64           `json:"session"`
	Op      uint64           `json:"op"`
}

// At is the part of o that orders what the agent has done.
func (o Op) At() placement.SessionOp {
	return placement.SessionOp{Session: o.Session, Op: o.Op}
}

// Write replaces the file in dir, which must exist. It is visible to readers
// when Write returns, and survives the death of the writer (not a boot: it is
// not synced). One process writes at a time.
func Write(dir string, o Op) error {
	o.V = Format
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode the op file: %w", err)
	}
	next := filepath.Join(dir, Name+".next")
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return fmt.Errorf("write the op file: %w", err)
	}
	if err := os.Rename(next, filepath.Join(dir, Name)); err != nil {
		return fmt.Errorf("replace the op file: %w", err)
	}
	return nil
}

// Read reads the file in dir. The error wraps [os.ErrNotExist] if there is
// none; a file of another format or without a session is an error too.
func Read(dir string) (Op, error) {
	b, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil {
		return Op{}, fmt.Errorf("read the op file: %w", err)
	}
	var o Op
	if err := json.Unmarshal(b, &o); err != nil {
		return Op{}, fmt.Errorf("decode the op file: %w", err)
	}
	if o.V != Format {
		return Op{}, fmt.Errorf("the op file has format %d, this program reads %d", o.V, Format)
	}
	if o.Session == 0 {
		return Op{}, fmt.Errorf("the op file names no session")
	}
	return o, nil
}
