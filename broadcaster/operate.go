package broadcaster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"longshore/internal/placement"
	"longshore/rpc"
)

// BackupPart is one item of a backup's stream: bytes of the file in their
// order, and at the end what proves that it is whole.
type BackupPart struct {
	Data   []byte `json:"data,omitempty"`
	Size   int64  `json:"size,omitempty"`   // of the whole file; only in the last item
	SHA256 string `json:"sha256,omitempty"` // of the whole file, in hex; only in the last item
}

// operateMethods are about the cluster as a whole.
func (b *Broadcaster) operateMethods() rpc.Methods {
	return rpc.Methods{
		"history": rpc.Streaming("Send the lines of the ledger's log that the filter chooses, oldest first: what changed, by whom, why. With follow it goes on.", "filter",
			func(ctx context.Context, c *rpc.Call, f placement.LogFilter, send func(any) error) error {
				var err error
				if f.Filter, err = narrow(c, f.Filter); err != nil {
					return err
				}
				if err := b.deps.Log.History(ctx, f, func(t placement.Transition) error { return send(t) }); err != nil {
					return err
				}
				return ctx.Err()
			}),
		"guard_release": rpc.Nullary("Let what silent nodes ran start elsewhere though the mass guard holds it back: an operator's word that they are gone. Returns the nodes released.",
			func(ctx context.Context, _ *rpc.Call) ([]placement.NodeID, error) {
				return b.deps.View.ReleaseGuard(ctx)
			}),
		"ledger_backup": rpc.Streaming("Send a copy of the ledger's file as of now, while it is in use. Its last item has size and sha256 of the file. reason is for the log.", "reason",
			func(ctx context.Context, c *rpc.Call, reason string, send func(any) error) error {
				if b.deps.Backups == nil {
					return &placement.Error{Kind: placement.KindRefused, What: "this ledger cannot be backed up", Why: "it is in memory only (--ephemeral)", Next: "start the broadcaster without --ephemeral"}
				}
				w := &backupWriter{send: send, sum: sha256.New()}
				if err := b.deps.Backups.Backup(w); err != nil {
					return err
				}
				b.cfg.Logger.Info("the ledger was backed up", "by", whose(c), "bytes", w.size, "reason", reason)
				if err := ctx.Err(); err != nil {
					return err
				}
				return send(BackupPart{Size: w.size, SHA256: hex.EncodeToString(w.sum.Sum(nil))})
			}),
	}
}

// backupWriter sends what is written to it.
type backupWriter struct {
	send func(any) error
	sum  hash.Hash
	size int64
}

func (w *backupWriter) Write(p []byte) (int, error) {
	w.sum.Write(p)
	w.size += int64(len(p))
	return len(p), w.send(BackupPart{Data: p})
}
