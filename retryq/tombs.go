package retryq

import (
	"context"
	"errors"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

func sortIDs(ids []placement.ID) { slices.Sort(ids) }

// ageTombs takes a while off what is left of each tombstone, and forgets those
// of which nothing is. Time is counted while a ledger runs, never read from a
// clock; so a tombstone may be kept longer than 30 days, not shorter.
func (l *Ledger) ageTombs(ctx context.Context, while time.Duration) error {
	var txn Txn
	flush := func() error {
		if len(txn.Expect) == 0 {
			return nil
		}
		_, err := l.store.Commit(ctx, txn)
		txn = Txn{}
		if errors.Is(err, ErrConflict) {
			return nil // another ledger did it
		}
		return err
	}
	tombs, err := l.tombs(ctx)
	if err != nil {
		return err
	}
	for _, t := range tombs {
		key := tombKey(t.tomb.ID)
		txn.Expect = append(txn.Expect, Expect{Key: key, Rev: t.rev})
		if t.tomb.Left -= millis(while); t.tomb.Left <= 0 {
			txn.Delete = append(txn.Delete, key)
		} else {
			b, err := encode(t.tomb)
			if err != nil {
				return err
			}
			txn.Put = append(txn.Put, Put{Key: key, Value: b})
		}
		if len(txn.Expect) == writesAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

type agedTomb struct {
	tomb rule.Tomb
	rev  uint64
}

func (l *Ledger) tombs(ctx context.Context) ([]agedTomb, error) {
	var tombs []agedTomb
	err := l.store.Scan(ctx, tombsPrefix, func(item Item) error {
		tomb, err := decode(item, func(t rule.Tomb) int { return t.V })
		tombs = append(tombs, agedTomb{tomb: tomb, rev: item.Rev})
		return err
	})
	return tombs, err
}
