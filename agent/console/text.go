package console

import (
	"unicode/utf8"

	"longshore/internal/dockerd"
)

// text is bytes as they travel: str if they are UTF-8, else bin.
func text(b []byte) any {
	if utf8.Valid(b) {
		return string(b)
	}
	return append([]byte(nil), b...)
}

// pieces makes the pieces of two outputs travel as text wherever the whole is
// text: a character that a piece ends in the middle of waits for the next.
type pieces struct{ rest map[dockerd.Stream][]byte }

// next is what can be sent now, which may be nothing.
func (p *pieces) next(from dockerd.Stream, b []byte) []byte {
	if p.rest == nil {
		p.rest = map[dockerd.Stream][]byte{}
	}
	b = append(p.rest[from], b...)
	n := whole(b)
	p.rest[from] = append([]byte(nil), b[n:]...)
	return b[:n]
}

// whole is how many bytes of b come before a character that is not whole yet.
func whole(b []byte) int {
	for i := len(b) - 1; i >= 0 && len(b)-i < utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
