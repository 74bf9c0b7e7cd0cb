package dockerd

import (
	"sync"
	"time"
)

// repairs remembers when this Host restarted which container by itself, so
// that the death it caused is not taken for an exit.
type repairs struct {
	mu    sync.Mutex
	spans map[string]span // by container
}

type span struct{ from, to time.Time } // to is zero while it goes on

const repairsKept = time.Minute // longer than events are ever late

// begin notes that the container is being restarted, until done is called.
func (r *repairs) begin(id string) (done func()) {
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
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spans[id] = span{from: from, to: time.Now()}
	}
}

// covers tells whether something that happened to the container at that time
// was a repair. Docker stamps events with this machine's clock.
func (r *repairs) covers(id string, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.spans[id]
	return ok && !at.Before(s.from) && (s.to.IsZero() || !at.After(s.to))
}
