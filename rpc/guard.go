package rpc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
)

// ZMTP 3.0 framing: a byte of flags, a length of 1 byte (8 if long), the body.
const (
	flagMore     = 1
	flagLong     = 2
	flagCommand  = 4
	greetingSize = 64
	maxCommand   = 4 << 10
)

// errFraming is the root of what the guard refuses.
var errFraming = errors.New("refused by the ZMTP guard")

// guard reads what a peer says. During the handshake it is the net.Conn that
// zmq4 sees, and lets nothing through that would harm zmq4, which believes
// every length and panics on what is malformed. Behind it the guard alone
// reads: frames and messages are bounded, commands are answered here, and a
// message costs an allocation a frame and one for all.
type guard struct {
	net.Conn
	in   *bufio.Reader
	conn *zmqConn // nil during the handshake

	greeting int    // bytes of the peer's greeting still to pass
	staged   []byte // a checked command for zmq4 to read next
	head     [9]byte
	got      int // bytes that have come of a message that is not whole
	greeted  bool
}

func newGuard(conn net.Conn) *guard {
	return &guard{Conn: conn, in: bufio.NewReaderSize(conn, 8<<10), greeting: greetingSize}
}

// established ends the handshake: from now on recv reads.
func (g *guard) established(c *zmqConn) { g.conn = c }

// Read is for zmq4, during the handshake.
func (g *guard) Read(p []byte) (int, error) {
	if g.greeting > 0 && len(p) > 0 {
		n, err := g.in.Read(p[:min(len(p), g.greeting)])
		g.greeting -= n
		return n, err
	}
	for len(g.staged) == 0 && len(p) > 0 {
		flags, size, width, err := g.next()
		if err == nil && flags&flagCommand == 0 {
			err = fmt.Errorf("%w: a message before the handshake", errFraming)
		}
		if err == nil {
			err = g.command(flags, size, width)
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, g.staged)
	g.staged = g.staged[n:]
	return n, nil
}

// recv reads one message behind the handshake.
func (g *guard) recv() ([][]byte, error) {
	frames := make([][]byte, 0, 2)
	defer func() { g.hold(-g.got) }() // it is whole, or will never be
	for total := uint64(0); ; {
		flags, size, width, err := g.next()
		switch {
		case err != nil:
			return nil, err
		case flags&flagCommand != 0 && len(frames) > 0:
			return nil, fmt.Errorf("%w: a command inside a message", errFraming)
		case flags&flagCommand != 0:
			if err := g.command(flags, size, width); err != nil {
				return nil, err
			}
			continue
		case size > MaxFrame:
			return nil, fmt.Errorf("%w: a frame of %d bytes", errFraming, size)
		}
		if total += size; len(frames) == MaxFrames || total > MaxMessage {
			return nil, fmt.Errorf("%w: a message of more than %d frames, %d bytes", errFraming, len(frames), total)
		}
		body, err := g.body(int(size))
		if err != nil {
			return nil, err
		}
		frames = append(frames, body)
		if flags&flagMore == 0 {
			return frames, nil
		}
	}
}

// next reads the head of the next frame.
func (g *guard) next() (flags byte, size uint64, width int, err error) {
	flags, err = g.in.ReadByte()
	if err != nil {
		return 0, 0, 0, err
	}
	width = 2
	if flags&flagLong != 0 {
		width = 9
	}
	g.head = [9]byte{flags}
	if err := readFull(g.in, g.head[1:width]); err != nil {
		return 0, 0, 0, err
	}
	size = uint64(g.head[1])
	if width == 9 {
		size = binary.BigEndian.Uint64(g.head[1:])
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 {
		return 0, 0, 0, fmt.Errorf("%w: flags 0x%x", errFraming, flags)
	}
	return flags, size, width, nil
}

// body reads a frame. Memory for a long one grows with what has come.
func (g *guard) body(size int) ([]byte, error) {
	if size <= unheeded {
		b := make([]byte, size)
		err := readFull(g.in, b)
		g.hold(size)
		return b, err
	}
	b := make([]byte, 0, unheeded)
	for len(b) < size {
		b = slices.Grow(b, min(size-len(b), max(1, len(b))))
		n, err := g.in.Read(b[len(b):min(size, cap(b))])
		b = b[:len(b)+n]
		if err != nil {
			return nil, err
		}
		g.hold(n)
	}
	return b, nil
}

// hold counts bytes of a message that is not whole.
func (g *guard) hold(n int) {
	g.got += n
	g.conn.hold(g.got)
}

// appendMessage writes frames as they are on the wire.
func appendMessage(b []byte, frames [][]byte) []byte {
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = flagMore
		}
		if len(f) < 256 {
			b = append(b, flags, byte(len(f)))
		} else {
			b = append(b, flags|flagLong)
			b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
		}
		b = append(b, f...)
	}
	return b
}

// command reads a command whole. During the handshake a sound one is passed
// on; behind it PING is answered and everything else ignored.
func (g *guard) command(flags byte, size uint64, width int) error {
	if size > maxCommand || flags&flagMore != 0 {
		return fmt.Errorf("%w: a command of %d bytes, flags 0x%x", errFraming, size, flags)
	}
	frame := make([]byte, width+int(size))
	copy(frame, g.head[:width])
	body := frame[width:]
	if err := readFull(g.in, body); err != nil {
		return err
	}
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return fmt.Errorf("%w: a command without a name", errFraming)
	}
	name, data := string(body[1:1+body[0]]), body[1+body[0]:]
	if g.conn == nil {
		if g.greeted {
			return fmt.Errorf("%w: command %.20q after READY", errFraming, name)
		}
		g.greeted = true
		g.staged = frame
		return checkReady(name, data)
	}
	if name == "PING" && len(data) >= 2 {
		return g.conn.pong(data[2:min(len(data), 2+16)]) // 2 bytes of time to live, then a context
	}
	return nil
}

// checkReady walks the properties of a READY command.
func checkReady(name string, b []byte) error {
	if name != "READY" {
		return nil // zmq4 refuses it
	}
	for n := 0; len(b) > 0; n++ {
		key := int(b[0])
		if key == 0 || len(b) < 1+key+4 || n == 16 {
			return fmt.Errorf("%w: a malformed READY", errFraming)
		}
		value := binary.BigEndian.Uint32(b[1+key:])
		b = b[1+key+4:]
		if uint64(value) > uint64(len(b)) {
			return fmt.Errorf("%w: a malformed READY", errFraming)
		}
		b = b[value:]
	}
	return nil
}

// readFull fills p. (io.ReadFull would make the end inside it another error.)
func readFull(r *bufio.Reader, p []byte) error {
	for len(p) > 0 {
		n, err := r.Read(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
