package retryq

import (
	"context"
	"slices"

	"longshore/internal/placement"
)

// hub holds those who watch. The ledger's lock guards it.
type hub struct{ watchers []*watcher }

// watcher is one stream of events. What it has not fetched waits in pending;
// beyond maxPending it is cut off, so that a slow one never holds up a commit.
type watcher struct {
	filter  placement.Filter
	pending []placement.Event
	cut     bool
	wake    chan struct{}
}

const maxPending = 16_384

// publish tells the placement's present status to those whose filter fits; was
// is the node that it was on before.
func (l *Ledger) publish(e *entry, was placement.NodeID) {
	if len(l.mem.hub.watchers) == 0 {
		return
	}
	event := placement.Event{Status: l.status(e), Rev: l.mem.rev}
	for _, w := range l.mem.hub.watchers {
		f := w.filter
		if f.Node != "" && f.Node == was {
			f.Node = ""
		}
		if !matches(f, event.Status) {
			continue
		}
		if len(w.pending) >= maxPending {
			w.cut, w.pending = true, nil
		}
		if !w.cut {
			w.pending = append(w.pending, event)
		}
		signal(w.wake)
	}
}

// Watch streams placements: first the present ones that the filter chooses, in
// the order of Statuses, then one event with Synced, then each change, until
// ctx ends (nil) or each fails (its error). Changes of a replaced or removed
// life are told too. A caller that falls far behind gets an Unavailable error,
// and has to watch again.
func (l *Ledger) Watch(ctx context.Context, f placement.Filter, each func(placement.Event) error) error {
	w := &watcher{filter: f, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	snapshot := l.statuses(f)
	rev := l.mem.rev
	l.mem.hub.watchers = append(l.mem.hub.watchers, w)
	l.mu.Unlock()
	defer l.unwatch(w)
	sortStatuses(snapshot)
	for _, s := range snapshot {
		if err := each(placement.Event{Status: s, Rev: rev}); err != nil {
			return err
		}
	}
	if err := each(placement.Event{Rev: rev, Synced: true}); err != nil {
		return err
	}
	for {
		events, cut := l.fetch(w)
		if cut {
			return &placement.Error{Kind: placement.KindUnavailable, What: "this watch is cut off", Why: "it did not fetch its events fast enough", Next: "watch again: the stream begins with the present state"}
		}
		for _, event := range events {
			if err := each(event); err != nil {
				return err
			}
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *Ledger) fetch(w *watcher) ([]placement.Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := w.pending
	w.pending = nil
	return events, w.cut
}

func (l *Ledger) unwatch(w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mem.hub.watchers = slices.DeleteFunc(l.mem.hub.watchers, func(o *watcher) bool { return o == w })
}
