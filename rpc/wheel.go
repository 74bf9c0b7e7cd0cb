package rpc

import "time"

// pulse is one channel's place in the wheel.
type pulse struct {
	prev, next *pulse
	due        time.Time // when its next heartbeat goes out
	seen       time.Time // when the peer was last heard on it; zero before the first tick
	owner      channel
}

// channel is what a pulse beats for.
type channel interface {
	// address is where the heartbeat goes: the reply envelope and the raw id.
	address() (envelope [][]byte, id []byte)
	// lose ends the channel; the link's mutex is held.
	lose(err error)
}

// wheel keeps the pulses of one link in the order they are due. All have the
// same period, so a pulse that is put at the end is in its place. The link's
// mutex guards it.
type wheel struct {
	first, last *pulse
	armed       bool // a timer runs, or a wake-up is on its way
}

// add puts p at the end; true means that the timer must be woken.
func (w *wheel) add(p *pulse, due time.Time) bool {
	p.due = due
	p.prev, p.next = w.last, nil
	if w.last == nil {
		w.first = p
	} else {
		w.last.next = p
	}
	w.last = p
	wake := !w.armed
	w.armed = true
	return wake
}

// remove takes p out; it does nothing when p is not in.
func (w *wheel) remove(p *pulse) {
	if w.first != p && p.prev == nil {
		return
	}
	if p.prev == nil {
		w.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		w.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
}

// turn takes what is due at now: beat is put back for its next tick, lost has
// missed two and is out. A peer is first expected at the first tick, and anew when the
// tick itself is late. next is
// when to turn again; zero means never, until add says wake.
func (w *wheel) turn(now time.Time, period time.Duration) (beat, lost []*pulse, next time.Time) {
	for p := w.first; p != nil && !p.due.After(now); p = w.first {
		w.remove(p)
		late := now.Sub(p.due)
		if p.seen.IsZero() || late > period/2 {
			p.seen = now // if we were stopped ourselves, its heartbeats lie unread
		}
		if now.Sub(p.seen) >= 2*period {
			lost = append(lost, p)
			continue
		}
		w.add(p, now.Add(period))
		beat = append(beat, p)
	}
	w.armed = w.first != nil
	if w.armed {
		next = w.first.due
	}
	return beat, lost, next
}
