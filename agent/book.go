package agent

import (
	"cmp"
	"slices"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// book is what the agent knows of its node: one entry for each placement in
// flight and each copy that is not proven gone. It is plain data; the agent's
// mutex guards it.
//
//	reserved --created--> created --started--> running <--> exited
//	    |                    |                    |           |
//	    +-------- drop: proven gone, or never there ----------+--> no entry
//
// A listing takes a while, so what the agent changed itself since the listing
// began is left as the agent knows it: each change is stamped.
type book struct {
	clock     uint64
	holds     []Hold // sorted by ID; the same placements as in copies
	copies    map[placement.ID]*entry
	dropped   map[placement.ID]uint64 // stamps of what was dropped since the last listing began
	strangers int                     // containers in the daemons that are not ours and have not ended
}

// entry is what is known of one placement beyond what Admit looks at.
type entry struct {
	epoch   placement.Epoch
	digest  string
	kept    bool                // the request's file counts this copy as a user
	state   placement.CopyState // "" while it is only reserved
	exit    int                 // exit code, when exited
	maybe   bool                // it was told to start and no answer came
	done    bool                // the ledger said: keep it stopped
	changed uint64
}

func newBook() *book {
	return &book{copies: map[placement.ID]*entry{}, dropped: map[placement.ID]uint64{}}
}

func (b *book) tick() uint64 {
	b.clock++
	return b.clock
}

func (b *book) find(id placement.ID) (int, bool) {
	return slices.BinarySearchFunc(b.holds, id, func(h Hold, id placement.ID) int { return cmp.Compare(h.ID, id) })
}

// put enters a placement; one that is there is replaced.
func (b *book) put(h Hold, e entry) {
	e.epoch, e.changed = h.Epoch, b.tick()
	i, found := b.find(h.ID)
	if found {
		b.holds[i] = h
	} else {
		b.holds = slices.Insert(b.holds, i, h)
	}
	b.copies[h.ID] = &e
}

// change alters the entry of exactly that epoch, if there is one.
func (b *book) change(id placement.ID, e placement.Epoch, f func(*entry)) {
	if c := b.copies[id]; c != nil && c.epoch == e {
		f(c)
		c.changed = b.tick()
	}
}

// drop strikes the entry of exactly that epoch. It tells the digest of a
// request file that has lost a user, or "".
func (b *book) drop(id placement.ID, e placement.Epoch) (digest string) {
	c := b.copies[id]
	if c == nil || c.epoch != e {
		return ""
	}
	if i, found := b.find(id); found {
		b.holds = slices.Delete(b.holds, i, i+1)
	}
	delete(b.copies, id)
	b.dropped[id] = b.tick()
	if c.kept {
		return c.digest
	}
	return ""
}

// setLate replaces the ports that the copy of exactly that epoch was given
// while it ran.
func (b *book) setLate(id placement.ID, e placement.Epoch, ports []placement.Port) {
	if i, found := b.find(id); found && b.holds[i].Epoch == e {
		b.holds[i].Late = ports
	}
}

// others are all holds but the placement's own.
func (b *book) others(id placement.ID) []Hold {
	return slices.DeleteFunc(slices.Clone(b.holds), func(h Hold) bool { return h.ID == id })
}

// news is what a listing told the book.
type news struct {
	gone   []gone         // copies proven gone behind the agent's back
	digest []string       // of request files that were read for copies that are not new after all
	ids    []placement.ID // whose entries stood against the listing: it was older
}

type gone struct {
	id     placement.ID
	digest string // as of drop
	ports  bool   // it may have had ports on the node's address
	own    bool   // by a removal that is not through yet, and sees to the ports
}

// found is a copy of a listing with its request, as far as that is known.
type found struct {
	placement.Copy
	request placement.Request
	kept    bool // its file was there, and counts this copy as a user
	late    []placement.Port
}

// unknown are the copies of a listing that the book has no entry for.
func (b *book) unknown(l dockerd.Listing) []placement.Copy {
	return slices.DeleteFunc(slices.Clone(l.Copies), func(c placement.Copy) bool {
		e := b.copies[c.ID]
		return e != nil && e.epoch == c.Epoch
	})
}

// apply takes in a listing that began when the clock stood at began. unknown
// are the copies of it with what their files say.
func (b *book) apply(l dockerd.Listing, began uint64, unknown []found) news {
	var n news
	listed := map[string]bool{}
	for _, d := range l.Daemons {
		listed[d.Owner] = d.OK
	}
	there := map[placement.ID]placement.Epoch{}
	for _, c := range l.Copies {
		there[c.ID] = c.Epoch
		e := b.copies[c.ID]
		switch {
		case e == nil || e.epoch != c.Epoch: // unknown: below
		case e.changed > began || e.state == "":
			if e.state != c.State {
				n.ids = append(n.ids, c.ID)
			}
		default:
			if c.State == placement.CopyRunning {
				e.maybe, e.done = false, false
			}
			e.state, e.exit = c.State, c.Exit
		}
	}
	for _, h := range slices.Clone(b.holds) {
		e := b.copies[h.ID]
		if !listed[h.ID.Owner()] || there[h.ID] == h.Epoch || e.changed > began || e.state == "" {
			continue
		}
		ports := h.published() || !e.kept
		n.gone = append(n.gone, gone{id: h.ID, digest: b.drop(h.ID, h.Epoch), ports: ports})
	}
	for _, c := range unknown {
		if b.copies[c.ID] != nil || b.dropped[c.ID] > began {
			if c.kept {
				n.digest = append(n.digest, c.Digest)
			}
			n.ids = append(n.ids, c.ID)
			continue
		}
		b.put(holdOf(c), entry{digest: c.Digest, kept: c.kept, state: c.State, exit: c.Exit})
	}
	for id, stamp := range b.dropped {
		if stamp <= began {
			delete(b.dropped, id)
		}
	}
	b.strangers = 0
	for _, s := range l.Strangers {
		if s.State != placement.CopyExited {
			b.strangers++
		}
	}
	return n
}

// holdOf is what a copy keeps from others: what its labels say it reserves,
// and what its request says of the rest.
func holdOf(c found) Hold {
	c.request.Needs = c.Needs
	return Hold{ID: c.ID, Epoch: c.Epoch, Request: c.request, Late: c.late}
}
