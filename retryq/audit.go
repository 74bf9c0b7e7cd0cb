package retryq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// logged is one entry of the ledger's log as the store keeps it: what one
// transaction changed. It is part of that transaction. Its revision is the
// item's.
type logged struct {
	V     int                    `json:"v"`
	Start placement.Start        `json:"start"`
	At    placement.Millis       `json:"at"` // since the start began
	By    string                 `json:"by"`
	Lines []placement.Transition `json:"lines"`
}

const (
	// keepLog is how many entries the log keeps at least; a tenth more, before
	// the oldest are forgotten. An entry has some 200 bytes: 25 MB.
	keepLog = 100_000
	// tailLog is how many of the newest are at hand for those who follow.
	tailLog = 1024
	maxWhy  = 300 // bytes
)

// audit is what memory has of the log.
type audit struct {
	count int       // entries in the store
	made  uint64    // entries that this process made: part of their keys
	began time.Time // the present start
	tail  []entryOf // the newest, by revision
	from  uint64    // all later entries are in tail
}

type entryOf struct {
	rev uint64
	logged
}

// entryFor is the log's entry about a change, and its key; nil if the log is
// not about what it changes.
func (l *Ledger) entryFor(c *change) (string, *logged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.mem
	e := logged{V: placement.Format, Start: m.meta.Start(), By: cmp.Or(c.by, "ledger")}
	if c.meta != nil {
		e.Start = c.meta.Start()
		e.Lines = append(e.Lines, rule.LedgerLine(m.meta, *c.meta))
	}
	if e.Start == m.meta.Start() && !m.audit.began.IsZero() {
		e.At = millis(time.Since(m.audit.began))
	}
	if c.app != nil {
		e.Lines = append(e.Lines, rule.AppLine(*c.app))
	}
	for _, n := range c.nodes {
		if t, ok := rule.NodeLine(m.knownNode(n.Node), n); ok {
			e.Lines = append(e.Lines, t)
		}
	}
	place := func(rec rule.Record, gone bool) {
		var old rule.Kept
		if known := m.places[rec.ID]; known != nil {
			old = known.kept
		}
		if t, ok := rule.Transition(old, rec, gone, c.why); ok {
			e.Lines = append(e.Lines, t)
		}
	}
	for _, r := range c.records {
		place(r, false)
	}
	for _, r := range c.buried {
		place(r, true)
	}
	if len(e.Lines) == 0 {
		return "", nil
	}
	for i := range e.Lines {
		if t := &e.Lines[i]; len(t.Why) > maxWhy {
			t.Why = t.Why[:maxWhy]
		}
	}
	m.audit.made++
	return fmt.Sprintf("%s%016x/%012x", logPrefix, uint64(e.Start), m.audit.made), &e
}

// applyLogged keeps an entry at hand that is durable now. The lock is held.
func (m *memory) applyLogged(e *logged, rev uint64) {
	if e == nil {
		return
	}
	a := &m.audit
	a.count++
	a.tail = append(a.tail, entryOf{rev, *e})
	if len(a.tail) >= 2*tailLog {
		a.from = a.tail[tailLog-1].rev
		a.tail = slices.Clone(a.tail[tailLog:])
	}
}

// lines are the entry's lines that the filter chooses.
func (e entryOf) lines(f placement.LogFilter) []placement.Transition {
	var lines []placement.Transition
	for _, t := range e.Lines {
		t.Rev, t.Start, t.At, t.By = e.rev, e.Start, e.At, e.By
		if f.Chooses(t) {
			lines = append(lines, t)
		}
	}
	return lines
}

// History calls each with the lines of the log that the filter chooses, by
// revision, oldest first. It returns when there are no more, or, following,
// when ctx ends (nil) or each fails. Of older lines than it keeps nothing is
// told.
func (l *Ledger) History(ctx context.Context, f placement.LogFilter, each func(placement.Transition) error) error {
	lines, upTo, err := l.storedLines(ctx, f)
	for {
		if err != nil {
			return err
		}
		for _, t := range lines {
			if err := each(l.aged(t)); err != nil {
				return err
			}
		}
		if !f.Follow {
			return nil
		}
		f.Since = max(f.Since, upTo)
		var there bool
		if lines, upTo, there = l.tailLines(f); !there {
			lines, upTo, err = l.storedLines(ctx, f)
			continue
		}
		if len(lines) > 0 {
			continue
		}
		f.Since = max(f.Since, upTo)
		if !l.movedOn(ctx, f.Since) {
			return nil
		}
	}
}

// movedOn waits for a revision above rev; false if ctx ended before.
func (l *Ledger) movedOn(ctx context.Context, rev uint64) bool {
	for {
		l.mu.Lock()
		later, moved := l.mem.rev > rev, l.moved
		l.mu.Unlock()
		if later {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// storedLines reads the log in the store, and up to which revision that was.
func (l *Ledger) storedLines(ctx context.Context, f placement.LogFilter) (lines []placement.Transition, upTo uint64, err error) {
	l.mu.Lock()
	upTo = l.mem.rev // the store has at least that
	l.mu.Unlock()
	err = l.store.Scan(ctx, logPrefix, func(item Item) error {
		if item.Rev <= f.Since {
			return nil
		}
		e, err := decode(item, func(e logged) int { return e.V })
		if err != nil {
			return err
		}
		upTo = max(upTo, item.Rev)
		lines = append(lines, entryOf{item.Rev, e}.lines(f)...)
		return nil
	})
	if err != nil {
		return nil, 0, unavailable(err)
	}
	slices.SortStableFunc(lines, func(a, b placement.Transition) int { return cmp.Compare(a.Rev, b.Rev) })
	return lines, upTo, nil
}

// tailLines are the lines that are at hand; not there if some are not.
func (l *Ledger) tailLines(f placement.LogFilter) (lines []placement.Transition, upTo uint64, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &l.mem.audit
	if f.Since < a.from {
		return nil, 0, false
	}
	i, _ := slices.BinarySearchFunc(a.tail, f.Since+1, func(e entryOf, rev uint64) int { return cmp.Compare(e.rev, rev) })
	for _, e := range a.tail[i:] {
		lines = append(lines, e.lines(f)...)
	}
	return lines, l.mem.rev, true
}

// aged is a line with how long ago it was.
func (l *Ledger) aged(t placement.Transition) placement.Transition {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.Start == l.mem.meta.Start() {
		ago := millis(time.Since(l.mem.audit.began)) - t.At
		t.Ago = &ago
	}
	return t
}

// errEnough ends a scan.
var errEnough = errors.New("retryq: enough")

// forgetLog deletes the oldest entries once there are a tenth more than the log
// keeps.
func (l *Ledger) forgetLog(ctx context.Context) error {
	l.mu.Lock()
	over := l.mem.audit.count - l.cfg.KeepLog
	l.mu.Unlock()
	if over <= l.cfg.KeepLog/10 {
		return nil
	}
	var keys []string
	err := l.store.Scan(ctx, logPrefix, func(item Item) error {
		keys = append(keys, item.Key)
		if len(keys) >= over {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return unavailable(err)
	}
	for some := range slices.Chunk(keys, writesAtOnce) {
		err := l.change(ctx, func() (*change, error) {
			c := l.newChange()
			c.forget = some
			c.after = func(m *memory, _ time.Time) { m.audit.count -= len(some) }
			return c, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// knownNode is a node's record; empty if there is none.
func (m *memory) knownNode(id placement.NodeID) rule.Node {
	if n := m.nodes[id]; n != nil {
		return n.rec
	}
	return rule.Node{}
}
