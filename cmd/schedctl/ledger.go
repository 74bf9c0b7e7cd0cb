package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"longshore/broadcaster"
	"longshore/internal/placement"
)

func (a *app) ledger() *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "Back up the ledger while it is in use"}
	var reason string
	backup := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the ledger into a file",
		Long: `Backup writes a copy of the ledger, as of one moment, while the broadcaster goes on.
FILE appears when it is whole and on disk; a former one is replaced. It holds every
app file's environment, so it is readable by you alone. Operators only.

To restore it: stop broadcasterd, copy FILE to ledger.db in its data directory, owned by
the broadcaster's user, and start broadcasterd once with --new-generation. It holds until
all nodes have told what they run, or for a minute, and takes in what they run and the
copy does not know. Containers run on meanwhile. What was removed or scaled down since
the copy runs again. Without any copy: broadcasterd --rebuild.`,
		Example: "  schedctl ledger backup /backup/ledger-$(date +%F).db",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.backup(cmd.Context(), args[0], reason) },
	}
	backup.Flags().StringVar(&reason, "reason", "", "for the broadcaster's log")
	cmd.AddCommand(backup)
	return cmd
}

func (a *app) backup(ctx context.Context, path, reason string) (err error) {
	link, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer link.Close()
	s, err := link.Stream(ctx, "ledger_backup", reason)
	if err != nil {
		return err
	}
	defer s.Close()
	size, err := saveBackup(path, s.Next)
	if err != nil {
		if ctx.Err() != nil {
			return &exitError{code: exitInterrupted}
		}
		return err
	}
	if a.json {
		a.object(map[string]any{"file": path, "bytes": size})
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", path, units.BytesSize(float64(size)))
	return nil
}

// saveBackup writes the parts of a backup into a file beside path, and gives it
// that name when it is whole and durable.
func saveBackup(path string, next func(any) error) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	sum := sha256.New()
	out := io.MultiWriter(f, sum)
	for {
		var p broadcaster.BackupPart
		if err = next(&p); errors.Is(err, io.EOF) {
			err = errors.New("the backup ended before its last part")
		}
		if err != nil {
			return 0, err
		}
		if p.SHA256 != "" {
			if got := hex.EncodeToString(sum.Sum(nil)); p.Size != size || p.SHA256 != got {
				return 0, &placement.Error{
					Kind: placement.KindUnavailable, What: "the backup did not come whole",
					Why: fmt.Sprintf("%d bytes with sha256 %s, sent were %d with %s", size, got, p.Size, p.SHA256), Next: "try again",
				}
			}
			break
		}
		n, err := out.Write(p.Data)
		if err != nil {
			return 0, err
		}
		size += int64(n)
	}
	if err = f.Sync(); err != nil {
		return 0, err
	}
	if err = f.Close(); err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), path)
}
