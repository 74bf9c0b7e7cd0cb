package boltstore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/boltstore"
)

// busyWriter lets the store commit during each write of a backup.
type busyWriter struct {
	to     bytes.Buffer
	commit func()
}

func (w *busyWriter) Write(p []byte) (int, error) {
	w.commit()
	return w.to.Write(p)
}

// TestBackupOfABusyStore: the copy has all that was acknowledged before it and
// nothing of what came later, and a slow reader holds up no commit, also where
// the file has to grow.
func TestBackupOfABusyStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "ledger"), boltstore.Options{Reserve: -1})
	n := 0
	put := func() {
		if _, err := s.Commit(t.Context(), retryq.Txn{Put: []retryq.Put{{Key: fmt.Sprintf("p/%06d", n), Value: make([]byte, 100_000)}}}); err != nil {
			t.Fatal(err)
		}
		n++
	}
	for range 100 {
		put()
	}
	before, w := n, &busyWriter{commit: put}
	if err := s.Backup(w); err != nil {
		t.Fatal(err)
	}
	if n == before {
		t.Fatal("nothing was committed during the backup")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("beside the store: %v, %v", files, err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(path, w.to.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, path, boltstore.Options{Reserve: -1})
	found := 0
	if err := c.Scan(t.Context(), "p/", func(retryq.Item) error { found++; return nil }); err != nil || found != before {
		t.Errorf("the copy has %d of %d, %v", found, before, err)
	}
}

// TestRestoredLedgerGoesOn: a ledger backed up while it runs is restored by
// copying the file back: a new generation, the same wishes.
func TestRestoredLedgerGoesOn(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ledger"), boltstore.Options{Reserve: -1})
	l, err := retryq.Open(t.Context(), retryq.Config{Store: s, Rand: rand.New(rand.NewPCG(1, 1))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	submit := func(name string) {
		t.Helper()
		r := placement.Request{V: 1, Image: "alice/web@sha256:1"}
		if _, err := l.Submit(t.Context(), placement.App{V: 1, Owner: "alice", Name: name, Services: []placement.Service{{Name: "web", Replicas: 2, Request: r}}}); err != nil {
			t.Fatal(err)
		}
	}
	submit("before")
	var copied bytes.Buffer
	if err := s.Backup(&copied); err != nil {
		t.Fatal(err)
	}
	submit("after")
	before := l.Mark()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "restored")
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	restored, err := retryq.Open(t.Context(), retryq.Config{Store: open(t, path, boltstore.Options{Reserve: -1}), NewGeneration: true, Cluster: l.Cluster()})
	if err != nil {
		t.Fatal(err)
	}
	list, err := restored.Statuses(t.Context(), placement.Filter{})
	if err != nil || len(list) != 2 || list[0].Replica.App() != "before" {
		t.Errorf("restored: %v, %v", list, err)
	}
	if mark := restored.Mark(); mark.Gen != before.Gen+1 {
		t.Errorf("generation %d follows %d", mark.Gen, before.Gen)
	}
}
