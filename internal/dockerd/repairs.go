package dockerd

import (
	"sync"
	"time"
)

// repairs remembers when this Host restarted which container by itself, so
// that the death it caused is not taken for an exit.
type repairs struct {
	mu     sync.Mutex
	spans  map[string]span   // by container
	failed map[string]uint64 // by owner: how many ended with a container that is down
}

type span struct{ from, to time.Time } // to is zero while it goes on

const repairsKept = time.Minute // longer than events are ever late

// begin notes that the owner's container is being restarted, until done is
// called with the outcome.
func (r *repairs) begin(owner, id string) (done func(err error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spans == nil {
		r.spans = map[string]span{}
	}
	for other, s := range r.spans {
		if !s.to.IsZero() && time.Since(s.to) > repairsKept {
			delete(r.spans, other)
		}
	}
	from := time.Now()
	r.spans[id] = span{from: from}
	return func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spans[id] = span{from: from, to: time.Now()}
		if err != nil {
			if r.failed == nil {
				r.failed = map[string]uint64{}
			}
			r.failed[owner]++
		}
	}
}

// failures counts the owner's repairs that left a container down. Its death
// was not told, so whoever watches must list.
func (r *repairs) failures(owner string) uint64 {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed[owner]
}

// covers tells whether something that happened to the container at that time
// was a repair. Docker stamps events with this machine's clock. A nil r made
// none.
func (r *repairs) covers(id string, at time.Time) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.spans[id]
	return ok && !at.Before(s.from) && (s.to.IsZero() || !at.After(s.to))
}
