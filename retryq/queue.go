package retryq

import (
	"container/heap"
	"time"

	"longshore/internal/placement"
)

// waiting is one placement in the queue.
type waiting struct {
	id    placement.ID
	class string // of equal needs
	size  placement.Resources
	due   time.Time

	place where
	of    *class
	inAge int // index in its class's heap
	inDue int // index in the heap of heads; -1: not a head
}

// where a waiting placement is.
type where int

const (
	nowhere where = iota
	lined         // waits its turn in its class
	inHand        // given out by take, until it is settled
	working       // a node works on it
)

// class is the waiting placements of equal needs. Only its oldest is offered,
// so one is in hand at most.
type class struct {
	name  string
	lined ageHeap
	hand  *waiting
	head  *waiting // the one in the heap of heads, nil if none
}

// queue orders what waits: each class by age, the heads of the classes by when
// they are due. It is guarded by its owner's lock.
type queue struct {
	classes map[string]*class
	heads   dueHeap
	items   map[placement.ID]*waiting
	busy    map[placement.ID]bool // the working ones
}

func newQueue() *queue {
	return &queue{classes: make(map[string]*class), items: make(map[placement.ID]*waiting), busy: make(map[placement.ID]bool)}
}

// line puts the placement into its class to wait until due, wherever it was.
func (q *queue) line(id placement.ID, class string, size placement.Resources, due time.Time) {
	w := q.items[id]
	if w != nil {
		q.leave(w)
	}
	w = &waiting{id: id, class: class, size: size, due: due, place: lined, inDue: -1}
	q.items[id] = w
	w.of = q.classOf(class)
	heap.Push(&w.of.lined, w)
	q.fix(w.of)
}

// work marks that a node works on it: the next of its class is due now.
func (q *queue) work(id placement.ID, now time.Time) {
	w := q.items[id]
	if w == nil || w.place == working {
		return
	}
	q.leave(w)
	w.place = working
	q.items[id], q.busy[id] = w, true
	q.hurry(w.class, now)
}

// drop takes the placement out. If it was taken by a node, or bound, the next
// of its class is due now.
func (q *queue) drop(id placement.ID, taken bool, now time.Time) {
	w := q.items[id]
	if w == nil {
		return
	}
	q.leave(w)
	if taken && w.place != working {
		q.hurry(w.class, now)
	}
}

// take gives out the head that is due longest; nil if none is.
func (q *queue) take(now time.Time) *waiting {
	if len(q.heads) == 0 || q.heads[0].due.After(now) {
		return nil
	}
	w := q.heads[0]
	c := w.of
	heap.Remove(&c.lined, w.inAge)
	w.place, c.hand = inHand, w
	q.fix(c)
	return w
}

// next is when the first head is due.
func (q *queue) next() (time.Time, bool) {
	if len(q.heads) == 0 {
		return time.Time{}, false
	}
	return q.heads[0].due, true
}

// hurryWhere makes the heads due now that pick chooses.
func (q *queue) hurryWhere(now time.Time, pick func(*waiting) bool) {
	var chosen []*waiting
	for _, w := range q.heads {
		if w.due.After(now) && pick(w) {
			chosen = append(chosen, w)
		}
	}
	for _, w := range chosen {
		w.due = now
		heap.Fix(&q.heads, w.inDue)
	}
}

// moreRoom makes the smallest and the oldest head that pick allows due now.
func (q *queue) moreRoom(now time.Time, pick func(*waiting) bool) {
	var smallest, oldest *waiting
	for _, w := range q.heads {
		if !w.due.After(now) || !pick(w) {
			continue
		}
		if smallest == nil || smaller(w, smallest) {
			smallest = w
		}
		if oldest == nil || elder(w, oldest) {
			oldest = w
		}
	}
	q.hurryWhere(now, func(w *waiting) bool { return w == smallest || w == oldest })
}

// hurry makes the head of a class due now.
func (q *queue) hurry(name string, now time.Time) {
	if c := q.classes[name]; c != nil && c.head != nil && c.head.due.After(now) {
		c.head.due = now
		heap.Fix(&q.heads, c.head.inDue)
	}
}

// leave takes w out of its class and of the items.
func (q *queue) leave(w *waiting) {
	delete(q.items, w.id)
	delete(q.busy, w.id)
	c := w.of
	switch w.place {
	case lined:
		heap.Remove(&c.lined, w.inAge)
	case inHand:
		c.hand = nil
	case nowhere, working:
	}
	q.fix(c)
}

func (q *queue) classOf(name string) *class {
	c := q.classes[name]
	if c == nil {
		c = &class{name: name}
		q.classes[name] = c
	}
	return c
}

// fix makes the oldest of the class its head, or none while one is in hand. An
// empty class is forgotten.
func (q *queue) fix(c *class) {
	if c.hand == nil && len(c.lined) == 0 && q.classes[c.name] == c {
		delete(q.classes, c.name)
	}
	var head *waiting
	if c.hand == nil && len(c.lined) > 0 {
		head = c.lined[0]
	}
	if c.head == head {
		return
	}
	if c.head != nil && c.head.inDue >= 0 {
		heap.Remove(&q.heads, c.head.inDue)
	}
	if c.head = head; head != nil {
		heap.Push(&q.heads, head)
	}
}

// elder tells whether a was submitted before b.
func elder(a, b *waiting) bool {
	if x, y := a.id.Life(), b.id.Life(); x != y {
		return x < y
	}
	return a.id < b.id
}

func smaller(a, b *waiting) bool {
	switch {
	case a.size.Memory != b.size.Memory:
		return a.size.Memory < b.size.Memory
	case a.size.CPU != b.size.CPU:
		return a.size.CPU < b.size.CPU
	}
	return elder(a, b)
}

// ageHeap has the oldest first.
type ageHeap []*waiting

func (h *ageHeap) Len() int           { return len(*h) }
func (h *ageHeap) Less(i, j int) bool { return elder((*h)[i], (*h)[j]) }
func (h *ageHeap) Swap(i, j int) {
	all := *h
	all[i], all[j] = all[j], all[i]
	all[i].inAge, all[j].inAge = i, j
}

func (h *ageHeap) Push(x any) {
	w := x.(*waiting)
	w.inAge = len(*h)
	*h = append(*h, w)
}

func (h *ageHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}

// dueHeap has first what is due first.
type dueHeap []*waiting

func (h *dueHeap) Len() int { return len(*h) }

func (h *dueHeap) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if !a.due.Equal(b.due) {
		return a.due.Before(b.due)
	}
	return elder(a, b)
}

func (h *dueHeap) Swap(i, j int) {
	all := *h
	all[i], all[j] = all[j], all[i]
	all[i].inDue, all[j].inDue = i, j
}

func (h *dueHeap) Push(x any) {
	w := x.(*waiting)
	w.inDue = len(*h)
	*h = append(*h, w)
}

func (h *dueHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	w.inDue = -1
	*h = old[:len(old)-1]
	return w
}
