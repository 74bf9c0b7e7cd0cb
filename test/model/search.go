package model

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a search. Zero: none.
type Limits struct {
	States  int           // stop when so many were found
	Time    time.Duration // or so much time has passed
	Samples int           // of states to walk on from
	Workers int           // 0: as many as there are processors
}

// Result is what a search found.
type Result struct {
	States   int
	Steps    int
	Depth    int
	Complete bool // every state that can be reached was
	Took     time.Duration
	Broken   string // the violation; "": none
	Story    []string
	Samples  []State
}

// search is one breadth-first search.
type search struct {
	cfg     *Config
	breaks  func(*Rules, *Misread)
	limits  Limits
	seen    visited
	states  atomic.Int64
	steps   atomic.Int64
	until   time.Time
	stop    atomic.Bool
	every   uint64 // one state in so many is a sample
	mu      sync.Mutex
	next    []*queue
	samples []State
	broken  string
	parent  uint32 // of the violation
	act     Act
}

// Search tries every order of events, shortest first, until something is
// broken, nothing is left or a limit is met.
func Search(cfg Config, breaks func(*Rules, *Misread), limits Limits) Result {
	if limits.Workers == 0 {
		limits.Workers = runtime.GOMAXPROCS(0)
	}
	began := time.Now()
	s := &search{cfg: &cfg, breaks: breaks, limits: limits, every: 1}
	if limits.Time > 0 {
		s.until = began.Add(limits.Time)
	}
	if limits.States > 0 && limits.Samples > 0 {
		s.every = uint64(max(1, limits.States/limits.Samples))
	}
	first := newRun(&cfg, breaks).initial()
	packed := pack(nil, &first)
	number, _ := s.seen.add(printOf(packed), 0)
	s.seen.shards[number&63].parents[number>>6] = number
	s.states.Store(1)
	level := &queue{}
	level.push(number, packed)
	depth := 0
	levels := []*queue{level}
	for len(levels) > 0 && !s.stop.Load() {
		s.next = nil
		s.level(levels)
		levels = s.next
		if len(levels) > 0 {
			depth++
		}
	}
	r := Result{States: int(s.states.Load()), Steps: int(s.steps.Load()), Depth: depth, Complete: len(levels) == 0 && !s.stop.Load(), Broken: s.broken, Samples: s.samples}
	if s.broken != "" {
		r.Story = s.story()
	}
	r.Took = time.Since(began)
	return r
}

// level goes through all states of one depth.
func (s *search) level(levels []*queue) {
	parts := make(chan []byte)
	var all sync.WaitGroup
	for range s.limits.Workers {
		all.Go(func() { s.work(parts) })
	}
	for _, q := range levels {
		for _, part := range q.split(512) {
			parts <- part
		}
		q.data = nil
	}
	close(parts)
	all.Wait()
}

func (s *search) work(parts <-chan []byte) {
	c := newRun(s.cfg, s.breaks)
	next := &queue{}
	var from State
	var packed []byte
	var parent uint32
	steps := 0
	c.out = func(a Act) {
		steps++
		if c.broken != "" {
			s.found(c.broken, parent, a)
			return
		}
		c.canon(&c.t)
		packed = pack(packed[:0], &c.t)
		f := printOf(packed)
		number, fresh := s.seen.add(f, parent)
		if !fresh {
			return
		}
		s.states.Add(1)
		next.push(number, packed)
		if f[1]%s.every == 0 && s.limits.Samples > 0 {
			s.sample(c.t)
		}
	}
	for part := range parts {
		for len(part) > 0 && !s.stop.Load() {
			parent = binary.LittleEndian.Uint32(part)
			end := 6 + int(binary.LittleEndian.Uint16(part[4:]))
			unpack(part[6:end], &from)
			part = part[end:]
			c.successors(&from)
		}
		if n := int(s.states.Load()); s.limits.States > 0 && n >= s.limits.States || !s.until.IsZero() && time.Now().After(s.until) {
			s.stop.Store(true)
		}
	}
	s.steps.Add(int64(steps))
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.items > 0 {
		s.next = append(s.next, next)
	}
}

func (s *search) found(what string, parent uint32, a Act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == "" {
		s.broken, s.parent, s.act = what, parent, a
	}
	s.stop.Store(true)
}

func (s *search) sample(t State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.samples) < s.limits.Samples {
		s.samples = append(s.samples, t)
	}
}
