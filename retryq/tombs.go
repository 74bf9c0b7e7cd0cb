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
	tombs, err := l.tombs(ctx)
	if err != nil {
		return err
	}
	for len(tombs) > 0 {
		c := l.newChange()
		for _, t := range tombs[:min(writesAtOnce, len(tombs))] {
			t.tomb.Left -= millis(while)
			c.tombs = append(c.tombs, t.tomb)
			c.expect[tombKey(t.tomb.ID)] = t.rev
		}
		tombs = tombs[len(c.tombs):]
		if err := l.commit(ctx, c); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return nil
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
