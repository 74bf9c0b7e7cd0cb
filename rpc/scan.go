package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// errBytes is the root of everything the scanner refuses.
var errBytes = errors.New("malformed msgpack")

// scanner walks msgpack without decoding it, before any decoder sees it: the
// decoder recurses (a deep value kills the process) and believes announced
// lengths. It needs no memory beyond itself.
type scanner struct {
	elements int  // values seen so far, over all calls
	outgoing bool // also hold to what stock peers accept: text keys, UTF-8
	left     [MaxDepth]int
	isMap    [MaxDepth]bool
}

// value walks the one value at b[pos:] and returns the position behind it.
func (s *scanner) value(b []byte, pos int) (int, error) {
	depth := 0
	for {
		if s.elements++; s.elements > MaxElements {
			return 0, fmt.Errorf("%w: more than %d values", errBytes, MaxElements)
		}
		h, err := readHead(b, pos)
		if err != nil {
			return 0, err
		}
		if err := s.rules(b, h, depth); err != nil {
			return 0, err
		}
		pos = h.end
		if h.children > 0 {
			if depth == MaxDepth {
				return 0, fmt.Errorf("%w: deeper than %d", errBytes, MaxDepth)
			}
			s.left[depth], s.isMap[depth] = h.children, h.kind == kindMap
			depth++
			continue
		}
		for depth > 0 {
			if s.left[depth-1]--; s.left[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			return pos, nil
		}
	}
}

// rules checks what is not about lengths: keys are scalars, and what we send
// has text keys and valid text. Bytes that are no UTF-8 become '?' in place,
// for a stock Python peer would drop the whole event and let its caller hang.
func (s *scanner) rules(b []byte, h head, depth int) error {
	isKey := depth > 0 && s.isMap[depth-1] && s.left[depth-1]%2 == 0
	if isKey && (h.kind == kindArray || h.kind == kindMap) {
		return fmt.Errorf("%w: a map key that is no scalar", errBytes)
	}
	if !s.outgoing {
		return nil
	}
	if isKey && h.kind != kindStr {
		return fmt.Errorf("%w: a map key that is no text", errBytes)
	}
	if h.kind == kindStr && !utf8.Valid(b[h.data:h.end]) {
		plainText(b[h.data:h.end])
	}
	return nil
}

// plainText overwrites each byte that is not part of valid UTF-8.
func plainText(b []byte) {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			b[0] = '?'
		}
		b = b[n:]
	}
}

type kind uint8

const (
	kindOther kind = iota // nil, bool, number
	kindStr
	kindBin
	kindArray
	kindMap
)

// head is the first part of a msgpack value: all of it, unless it has children.
type head struct {
	kind     kind
	data     int // where the bytes of a text or bin start
	end      int // behind the value, or before its first child
	children int // values that follow: of an array, or keys and values of a map
}

// readHead reads the head at pos; lengths never reach beyond b.
func readHead(b []byte, pos int) (head, error) {
	if pos >= len(b) {
		return head{}, fmt.Errorf("%w: cut short", errBytes)
	}
	c := b[pos]
	switch {
	case c <= 0x7f, c >= 0xe0:
		return head{end: pos + 1}, nil
	case c <= 0x8f:
		return container(b, kindMap, pos+1, uint64(c&0x0f)*2)
	case c <= 0x9f:
		return container(b, kindArray, pos+1, uint64(c&0x0f))
	case c <= 0xbf:
		return bytesHead(b, kindStr, pos+1, uint64(c&0x1f))
	}
	width := headWidth(c)
	if width < 0 {
		return head{}, fmt.Errorf("%w: code 0x%x is not allowed", errBytes, c)
	}
	if len(b)-pos-1 < width {
		return head{}, fmt.Errorf("%w: cut short", errBytes)
	}
	end := pos + 1 + width
	switch {
	case c >= 0xc4 && c <= 0xc6:
		return bytesHead(b, kindBin, end, bigEndian(b[pos+1:end]))
	case c >= 0xd9 && c <= 0xdb:
		return bytesHead(b, kindStr, end, bigEndian(b[pos+1:end]))
	case c == 0xdc || c == 0xdd:
		return container(b, kindArray, end, bigEndian(b[pos+1:end]))
	case c == 0xde || c == 0xdf:
		return container(b, kindMap, end, 2*bigEndian(b[pos+1:end]))
	}
	return head{end: end}, nil
}

// headWidth is how many bytes of length or number follow a code from 0xc0 to
// 0xdf, or -1 for codes that are reserved or extensions.
func headWidth(c byte) int {
	switch c {
	case 0xc0, 0xc2, 0xc3:
		return 0
	case 0xc4, 0xcc, 0xd0, 0xd9:
		return 1
	case 0xc5, 0xcd, 0xd1, 0xda, 0xdc, 0xde:
		return 2
	case 0xc6, 0xca, 0xce, 0xd2, 0xdb, 0xdd, 0xdf:
		return 4
	case 0xcb, 0xcf, 0xd3:
		return 8
	}
	return -1
}

func bytesHead(b []byte, k kind, at int, n uint64) (head, error) {
	if n > uint64(len(b)-at) {
		return head{}, fmt.Errorf("%w: announces %d bytes, has %d", errBytes, n, len(b)-at)
	}
	return head{kind: k, data: at, end: at + int(n)}, nil
}

func container(b []byte, k kind, at int, n uint64) (head, error) {
	if n > uint64(len(b)-at) {
		return head{}, fmt.Errorf("%w: announces %d values, has %d bytes", errBytes, n, len(b)-at)
	}
	return head{kind: k, data: at, end: at, children: int(n)}, nil
}

// bigEndian reads 1, 2, 4 or 8 bytes.
func bigEndian(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

// readInt reads a whole number; ok is false for anything else.
func readInt(b []byte) (n int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	switch c := b[0]; {
	case c <= 0x7f:
		return int64(c), true
	case c >= 0xe0:
		return int64(int8(c)), true
	case c >= 0xcc && c <= 0xcf:
		u := bigEndian(b[1 : 1+headWidth(c)])
		return int64(u), u <= 1<<63-1
	case c == 0xd0:
		return int64(int8(b[1])), true
	case c == 0xd1:
		return int64(int16(bigEndian(b[1:3]))), true
	case c == 0xd2:
		return int64(int32(bigEndian(b[1:5]))), true
	case c == 0xd3:
		return int64(bigEndian(b[1:9])), true
	}
	return 0, false
}
