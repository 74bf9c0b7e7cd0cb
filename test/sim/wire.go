package sim

import "encoding/binary"

// message is an event of ZeroRPC as far as the simulator reads it: without the
// ids, which are random.
type message struct {
	conn    *conn  // the sending end
	channel []byte // response_to, else message_id
	answer  bool   // it has a response_to
	name    string
	args    []byte
}

// parse splits an event that our own encoder made. What it cannot read it
// returns whole, as args.
func parse(b []byte) message {
	whole := message{name: "?", args: b}
	if len(b) < 2 || b[0] != 0x93 || b[1]&0xf0 != 0x80 {
		return whole
	}
	var m message
	pos := 2
	for range int(b[1] & 0x0f) {
		end := skip(b, pos)
		if end < 0 {
			return whole
		}
		key := string(b[pos+1 : end])
		pos = end
		if end = skip(b, pos); end < 0 {
			return whole
		}
		switch {
		case key == "response_to":
			m.channel, m.answer = b[pos:end], true
		case key == "message_id" && !m.answer:
			m.channel = b[pos:end]
		}
		pos = end
	}
	end := skip(b, pos)
	if end < 0 {
		return whole
	}
	m.name, m.args = string(b[pos+1:end]), b[end:]
	return m
}

// skip is the position behind the value at pos; -1 if there is none.
func skip(b []byte, pos int) int {
	for left := 1; left > 0; left-- {
		bytes, values := head(b, pos)
		if bytes < 0 || pos+bytes > len(b) {
			return -1
		}
		pos, left = pos+bytes, left+values
	}
	return pos
}

// head is how many bytes the value at pos has itself, and how many values
// follow that belong to it; -1 bytes: there is none.
func head(b []byte, pos int) (bytes, values int) {
	if pos >= len(b) {
		return -1, 0
	}
	h := b[pos]
	size := func(n int) int { // the number of n bytes behind h
		if pos+1+n > len(b) {
			return len(b)
		}
		var wide [8]byte
		copy(wide[8-n:], b[pos+1:pos+1+n])
		return int(binary.BigEndian.Uint64(wide[:]))
	}
	switch {
	case h < 0x80 || h >= 0xe0 || h >= 0xc0 && h <= 0xc3:
		return 1, 0
	case h < 0x90:
		return 1, 2 * int(h&0x0f)
	case h < 0xa0:
		return 1, int(h & 0x0f)
	case h < 0xc0:
		return 1 + int(h&0x1f), 0
	case h <= 0xc6: // bin
		n := 1 << (h - 0xc4)
		return 1 + n + size(n), 0
	case h == 0xca || h == 0xcb:
		return 5 + 4*int(h-0xca), 0
	case h >= 0xcc && h <= 0xd3:
		return 1 + 1<<((h-0xcc)&3), 0
	case h >= 0xd9 && h <= 0xdb: // str
		n := 1 << (h - 0xd9)
		return 1 + n + size(n), 0
	case h >= 0xdc: // arrays, maps
		n := 2 << (h & 1)
		return 1 + n, size(n) * (1 + int(h-0xdc)/2)
	}
	return -1, 0
}
