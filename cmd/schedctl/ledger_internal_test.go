package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"longshore/broadcaster"
)

func TestBackupAppearsOnlyWhole(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("ledger"))
	whole := []broadcaster.BackupPart{{Data: []byte("led")}, {Data: []byte("ger")}, {Size: 6, SHA256: hex.EncodeToString(sum[:])}}
	for name, c := range map[string]struct {
		parts []broadcaster.BackupPart
		ok    bool
	}{
		"whole":          {whole, true},
		"cut off":        {whole[:2], false},
		"a part missing": {[]broadcaster.BackupPart{whole[0], whole[2]}, false},
		"parts swapped":  {[]broadcaster.BackupPart{whole[1], whole[0], whole[2]}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "copy")
			if err := os.WriteFile(path, []byte("former"), 0o600); err != nil {
				t.Fatal(err)
			}
			left := c.parts
			_, err := saveBackup(path, func(v any) error {
				if len(left) == 0 {
					return io.EOF
				}
				*v.(*broadcaster.BackupPart), left = left[0], left[1:]
				return nil
			})
			want := "former"
			if c.ok {
				want = "ledger"
			}
			if got, read := os.ReadFile(path); (err == nil) != c.ok || read != nil || string(got) != want {
				t.Errorf("%v, and the file has %q (%v)", err, got, read)
			}
			if files, _ := os.ReadDir(dir); len(files) != 1 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}
