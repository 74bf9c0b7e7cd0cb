package model

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"sync"
)

// pack appends a state without its zeros: a bit for each word that has any,
// and for each such word a bit for each byte.
func pack(to []byte, s *State) []byte {
	raw := s.raw()
	head := len(to)
	words := (len(raw) + 7) / 8
	to = append(to, make([]byte, (words+7)/8)...)
	for w := range words {
		word := raw[w*8 : min(len(raw), w*8+8)]
		var mask byte
		for i, b := range word {
			if b != 0 {
				mask |= 1 << i
			}
		}
		if mask == 0 {
			continue
		}
		to[head+w/8] |= 1 << (w % 8)
		to = append(to, mask)
		for ; mask != 0; mask &= mask - 1 {
			to = append(to, word[bits.TrailingZeros8(mask)])
		}
	}
	return to
}

// unpack reads a state and returns what comes after it.
func unpack(from []byte, s *State) []byte {
	*s = State{}
	raw := s.raw()
	words := (len(raw) + 7) / 8
	head, rest := from[:(words+7)/8], from[(words+7)/8:]
	for w := range words {
		if head[w/8]>>(w%8)&1 == 0 {
			continue
		}
		mask := rest[0]
		rest = rest[1:]
		for ; mask != 0; mask &= mask - 1 {
			raw[w*8+bits.TrailingZeros8(mask)] = rest[0]
			rest = rest[1:]
		}
	}
	return rest
}

// print128 is the fingerprint of a state.
type print128 [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func printOf(packed []byte) print128 {
	f := print128{maphash.Bytes(seeds[0], packed), maphash.Bytes(seeds[1], packed)}
	if f == (print128{}) {
		f[0] = 1 // zero is an empty place
	}
	return f
}

// visited is the set of states that were seen, each with a number and the
// number of the state that it was first reached from.
type visited struct {
	shards [64]shard
}

type shard struct {
	mu      sync.Mutex
	prints  []print128
	numbers []uint32
	used    int
	parents []uint32 // by number / 64
}

// add returns the state's number, and whether it is new.
func (v *visited) add(f print128, parent uint32) (number uint32, fresh bool) {
	which := uint32(f[0] & 63)
	s := &v.shards[which]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used*4 >= len(s.prints)*3 {
		s.grow()
	}
	i := s.find(f)
	if s.prints[i] == f {
		return s.numbers[i], false
	}
	number = uint32(s.used)<<6 | which
	s.prints[i], s.numbers[i] = f, number
	s.used++
	s.parents = append(s.parents, parent)
	return number, true
}

func (s *shard) find(f print128) uint64 {
	mask := uint64(len(s.prints) - 1)
	i := f[1] & mask
	for s.prints[i] != (print128{}) && s.prints[i] != f {
		i = (i + 1) & mask
	}
	return i
}

func (s *shard) grow() {
	prints, numbers := s.prints, s.numbers
	size := max(256, 2*len(prints))
	s.prints, s.numbers = make([]print128, size), make([]uint32, size)
	for i, f := range prints {
		if f != (print128{}) {
			j := s.find(f)
			s.prints[j], s.numbers[j] = f, numbers[i]
		}
	}
}

// number of a state that was added.
func (v *visited) number(f print128) (uint32, bool) {
	s := &v.shards[f[0]&63]
	if len(s.prints) == 0 {
		return 0, false
	}
	i := s.find(f)
	return s.numbers[i], s.prints[i] == f
}

func (v *visited) parent(number uint32) uint32 { return v.shards[number&63].parents[number>>6] }

// queue is states of one depth, packed, each after its number and its length.
type queue struct {
	data  []byte
	items int
}

func (q *queue) push(number uint32, packed []byte) {
	q.data = binary.LittleEndian.AppendUint32(q.data, number)
	q.data = binary.LittleEndian.AppendUint16(q.data, uint16(len(packed)))
	q.data = append(q.data, packed...)
	q.items++
}

// split cuts the queue into parts of about n states.
func (q *queue) split(n int) [][]byte {
	var parts [][]byte
	begin, at := 0, 0
	for i := 1; at < len(q.data); i++ {
		at += 6 + int(binary.LittleEndian.Uint16(q.data[at+4:]))
		if i%n == 0 || at == len(q.data) {
			parts = append(parts, q.data[begin:at])
			begin = at
		}
	}
	return parts
}
