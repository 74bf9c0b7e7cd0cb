package opfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"longshore/internal/opfile"
	"longshore/internal/placement"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := opfile.Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("read of nothing: %v", err)
	}
	want := opfile.Op{V: opfile.Format, Cluster: "c1", Node: "n1", Session: 7, Op: 42}
	if err := opfile.Write(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := opfile.Read(dir)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	if at := (placement.SessionOp{Session: 7, Op: 42}); got.At() != at {
		t.Errorf("at %v, want %v", got.At(), at)
	}
	info, err := os.Stat(filepath.Join(dir, opfile.Name))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestWhatCannotBeTrustedIsNotRead(t *testing.T) {
	for name, content := range map[string]string{
		"empty":      "",
		"torn":       `{"v":1,"cluster":"c1","node":"n1","sess`,
		"format":     `{"v":2,"cluster":"c1","node":"n1","session":7,"op":42}`,
		"no session": `{"v":1,"cluster":"c1","node":"n1","op":42}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, opfile.Name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if o, err := opfile.Read(dir); err == nil {
				t.Errorf("read %+v", o)
			}
		})
	}
}

func TestReadersNeverSeeAPart(t *testing.T) {
	dir := t.TempDir()
	const writes = 500
	if err := opfile.Write(dir, opfile.Op{Cluster: "c1", Node: "n1", Session: 1}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range uint64(writes) {
			if err := opfile.Write(dir, opfile.Op{Cluster: "c1", Node: "n1", Session: 1, Op: i + 1}); err != nil {
				t.Error(err)
			}
		}
	})
	last := uint64(0)
	for last < writes {
		o, err := opfile.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if o.Op < last {
			t.Fatalf("op went from %d to %d", last, o.Op)
		}
		last = o.Op
	}
	wg.Wait()
}
