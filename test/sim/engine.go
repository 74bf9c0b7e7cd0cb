package sim

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"
)

// delivery is one thing that the outside world does at one moment.
type delivery struct {
	at  time.Duration // since the begin of the run
	key uint64        // orders what is due at one moment
	do  func()
}

// engine makes the deliveries, one after the other.
type engine struct {
	seed  uint64
	begun time.Time

	mu    sync.Mutex
	queue deliveries
	wake  chan struct{}

	// The delivering goroutine's own.
	trace  hash.Hash
	events int
	line   []byte
	log    io.Writer // of the whole trace, for a comparison; nil: none
}

func newEngine(seed uint64) *engine {
	return &engine{seed: seed, begun: time.Now(), wake: make(chan struct{}, 1), trace: sha256.New()}
}

// now is the time since the begin of the run.
func (e *engine) now() time.Duration { return time.Since(e.begun) }

// after has do done once d has passed, at the earliest a nanosecond from now.
// Of what is due at one moment the lowest key comes first.
func (e *engine) after(d time.Duration, key uint64, do func()) {
	e.at(e.now()+max(d, 1), key, do)
}

// at is after with the time since the begin of the run.
func (e *engine) at(at time.Duration, key uint64, do func()) {
	e.mu.Lock()
	heap.Push(&e.queue, delivery{at: at, key: key, do: do})
	first := e.queue[0].at == at
	e.mu.Unlock()
	if first {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// next takes what is due, or tells how long to wait for it.
func (e *engine) next() (do func(), wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		return nil, time.Hour
	}
	if wait = e.queue[0].at - e.now(); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&e.queue).(delivery).do, 0
}

// run delivers until ctx ends. After each delivery it sleeps for a nanosecond:
// the clock of the bubble moves on only when everybody else has come to rest.
func (e *engine) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		do, wait := e.next()
		if do != nil {
			do()
			time.Sleep(time.Nanosecond)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-ctx.Done():
		}
	}
}

// note puts one event into the trace: what it is, and when. Only deliveries
// call it.
func (e *engine) note(what string, parts ...[]byte) {
	e.events++
	e.line = binary.LittleEndian.AppendUint64(e.line[:0], uint64(e.now()))
	e.line = append(e.line, what...)
	for _, p := range parts {
		e.line = append(append(e.line, 0), p...)
	}
	e.trace.Write(e.line)
	if e.log != nil {
		fmt.Fprintf(e.log, "%d %s %q\n", e.now(), what, parts)
	}
}

// sum is the trace so far.
func (e *engine) sum() string { return hex.EncodeToString(e.trace.Sum(nil)) }

// random is a number that depends on the seed, on who asks for what, and on
// when: the same in every run of the seed.
func (e *engine) random(who string, what ...string) uint64 {
	h := mix(fnv(who)^e.seed) ^ mix(uint64(e.now()))
	for _, w := range what {
		h = mix(h ^ fnv(w))
	}
	return mix(h)
}

// between is a duration from least to most.
func (e *engine) between(least, most time.Duration, who string, what ...string) time.Duration {
	return least + time.Duration(e.random(who, what...)%uint64(most-least+1))
}

// chance is true with probability p.
func (e *engine) chance(p float64, who string, what ...string) bool {
	return float64(e.random(who, what...)>>11)/(1<<53) < p
}

// mix spreads the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fnv is the FNV-1a hash of s.
func fnv(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// deliveries is a heap by (at, key).
type deliveries []delivery

func (q *deliveries) Len() int { return len(*q) }

func (q *deliveries) Less(i, j int) bool {
	a, b := &(*q)[i], &(*q)[j]
	return a.at < b.at || a.at == b.at && a.key < b.key
}

func (q *deliveries) Swap(i, j int) { (*q)[i], (*q)[j] = (*q)[j], (*q)[i] }

func (q *deliveries) Push(x any) { *q = append(*q, x.(delivery)) }

func (q *deliveries) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = delivery{}
	*q = old[:len(old)-1]
	return d
}
