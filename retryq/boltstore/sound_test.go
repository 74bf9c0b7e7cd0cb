package boltstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longshore/retryq"
	"longshore/retryq/boltstore"
)

// TestDamagedFile: a file that lost its end, or the most of each page, is
// refused with the reason; it is neither taken for an empty ledger, nor does
// the process crash. Whole it opens.
func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := boltstore.Open(path, boltstore.Options{Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if _, err := s.Commit(t.Context(), retryq.Txn{Put: []retryq.Put{{Key: fmt.Sprintf("p/%04d", i), Value: []byte(strings.Repeat("x", 200))}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, bytes []byte) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "ledger.db") // one that faulted is held until this process ends
		if err := os.WriteFile(path+".reserve", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := boltstore.Open(path, boltstore.Options{Reserve: 1 << 20})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: it was opened", name)
			return
		}
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for size := 0; size < len(file)-1; size += 9000 {
		refused(fmt.Sprintf("%d of %d bytes", size, len(file)), file[:size])
	}
	torn := append([]byte(nil), file...)
	for page := 0; page < len(torn); page += 4096 {
		clear(torn[page+512 : min(page+4096, len(torn))])
	}
	refused("torn pages", torn)
	whole, err := boltstore.Open(path, boltstore.Options{Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	whole.Close()
}
