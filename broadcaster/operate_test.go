package broadcaster_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"longshore/broadcaster"
	"longshore/internal/placement"
	"longshore/rpc"
)

// theLedger is what a backup of the fake ledger has: more than one frame takes.
var theLedger = bytes.Repeat([]byte("ledger"), 1<<20)

func (l *ledger) Backup(w io.Writer) error {
	_, err := io.CopyBuffer(w, struct{ io.Reader }{bytes.NewReader(theLedger)}, make([]byte, 256<<10))
	return err
}

func TestBackupTravelsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodes(1), plainImages).dial("client", nil)
		s, err := c.Stream(t.Context(), "ledger_backup", "nightly")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var got []byte
		for {
			var p broadcaster.BackupPart
			if err := s.Next(&p); err != nil {
				t.Fatal(err)
			}
			got = append(got, p.Data...)
			if p.SHA256 == "" {
				continue
			}
			sum := sha256.Sum256(theLedger)
			if p.Size != int64(len(theLedger)) || p.SHA256 != hex.EncodeToString(sum[:]) || !bytes.Equal(got, theLedger) {
				t.Errorf("%d bytes came, the last part says %d, %s", len(got), p.Size, p.SHA256)
			}
			break
		}
		if err := s.Next(new(any)); !errors.Is(err, io.EOF) {
			t.Errorf("after the last part: %v", err)
		}
	})
}

func TestHoldingAndHistoryAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodes(1), plainImages).dial("client", nil)
		var info broadcaster.Info
		if err := c.Call(t.Context(), "info", &info); err != nil || !strings.Contains(info.Holding, "fell silent together") {
			t.Errorf("info: %+v, %v", info, err)
		}
		var freed []placement.NodeID
		if err := c.Call(t.Context(), "guard_release", &freed); err != nil || len(freed) != 1 {
			t.Errorf("released %v, %v", freed, err)
		}
		for owner, want := range map[string]int{"alice": 1, "eve": 0} {
			s, err := c.Stream(t.Context(), "history", placement.LogFilter{Filter: placement.Filter{Owner: owner}})
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for s.Next(&placement.Transition{}) == nil {
				got++
			}
			if got != want {
				t.Errorf("%s has %d lines, want %d", owner, got, want)
			}
		}
	})
}

func TestActorsNamesTheCaller(t *testing.T) {
	for want, peer := range map[string]rpc.Peer{"operator": {}, "user/alice": {Role: "user", Subject: "alice"}} {
		var got string
		serve := broadcaster.Actors(func(ctx context.Context, _ *rpc.Call) (any, error) {
			got = placement.Actor(ctx)
			return nil, nil
		})
		if _, err := serve(t.Context(), &rpc.Call{Peer: peer}); err != nil || got != want {
			t.Errorf("%q acts, want %q", got, want)
		}
	}
}
