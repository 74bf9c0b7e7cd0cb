package retryq

import (
	"cmp"
	"context"
	"slices"
	"time"

	"longshore/internal/placement"
)

// maxWaiting is how many placements one answer of Waiting lists.
const maxWaiting = 5_000

// Waiting lists the placements that wait for a node, in the order in which they
// are due: first those that are offered or worked on now, then by when their
// turn comes (of equal needs only the oldest has one; the others follow it),
// at last those that an older life or the hold of a start is before. At most
// 5,000 are listed.
func (l *Ledger) Waiting(_ context.Context, f placement.Filter) ([]placement.Status, error) {
	type turn struct {
		status placement.Status
		rank   int
		due    time.Time
	}
	var turns []turn
	l.mu.Lock()
	for _, id := range sortedKeys(l.mem.places) {
		e := l.mem.places[id]
		if e.rec.State != placement.Pending {
			continue
		}
		t := turn{status: l.status(e)}
		if !matches(f, t.status) {
			continue
		}
		w := l.mem.queue.items[id]
		switch {
		case w == nil:
			t.rank = 2
		case w.place == lined:
			t.rank, t.due = 1, w.due
			if w.of.head != nil {
				t.due = w.of.head.due
			}
		}
		turns = append(turns, t)
	}
	l.mu.Unlock()
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), a.due.Compare(b.due), cmp.Compare(a.status.ID.Life(), b.status.ID.Life()), cmp.Compare(a.status.ID, b.status.ID))
	})
	list := make([]placement.Status, min(len(turns), maxWaiting))
	for i := range list {
		list[i] = turns[i].status
	}
	return list, nil
}
