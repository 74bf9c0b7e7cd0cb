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

// guard is the net.Conn that zmq4 sees. It follows the framing of what comes
// in and lets nothing through that would harm zmq4, which believes every
// length, panics on malformed handshakes and hands PING to the application:
// frames and messages are bounded, the READY command is checked, and commands
// behind it are answered here. What zmq4 writes goes straight out during the
// handshake and into the connection's queue behind it.
type guard struct {
	net.Conn
	in   *bufio.Reader
	conn *zmqConn // nil during the handshake

	greeting int    // bytes of the peer's greeting still to pass
	staged   []byte // checked bytes for zmq4 to read next
	body     int    // bytes of the current frame still to pass
	head     [9]byte
	frames   int // of the current message
	size     int // its bytes
	got      int // those of them that have come, but for a last short frame
	greeted  bool
}

func newGuard(conn net.Conn) *guard {
	return &guard{Conn: conn, in: bufio.NewReaderSize(conn, 8<<10), greeting: greetingSize}
}

// established ends the handshake: from now on commands are ours, and writes
// are queued.
func (g *guard) established(c *zmqConn) { g.conn = c }

func (g *guard) Write(p []byte) (int, error) {
	if g.conn == nil {
		return g.Conn.Write(p)
	}
	g.conn.write(p)
	return len(p), nil
}

func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if g.greeting > 0 {
		n, err := g.in.Read(p[:min(len(p), g.greeting)])
		g.greeting -= n
		return n, err
	}
	for len(g.staged) == 0 && g.body == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	if len(g.staged) > 0 {
		n := copy(p, g.staged)
		if g.staged = g.staged[n:]; len(g.staged) == 0 {
			g.staged = nil // a long frame is let go
		}
		return n, nil
	}
	n, err := g.in.Read(p[:min(len(p), g.body)])
	g.body -= n
	return n, err
}

// next reads the head of the next frame and stages it, or deals with a
// command.
func (g *guard) next() error {
	if g.frames == 0 && g.got > 0 {
		g.hold(-g.got) // the last message is whole
	}
	flags, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	width := 1
	if flags&flagLong != 0 {
		width = 8
	}
	g.head = [9]byte{flags}
	if _, err := readFull(g.in, g.head[1:1+width]); err != nil {
		return err
	}
	size := uint64(g.head[1])
	if width == 8 {
		size = binary.BigEndian.Uint64(g.head[1:])
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 {
		return fmt.Errorf("%w: flags 0x%x", errFraming, flags)
	}
	if flags&flagCommand != 0 {
		return g.command(flags, size, 1+width)
	}
	return g.message(flags, size, 1+width)
}

// message admits one frame of a message.
func (g *guard) message(flags byte, size uint64, width int) error {
	if g.conn == nil {
		return fmt.Errorf("%w: a message before the handshake", errFraming)
	}
	if size > MaxFrame {
		return fmt.Errorf("%w: a frame of %d bytes", errFraming, size)
	}
	g.frames++
	g.size += int(size)
	if g.frames > MaxFrames || g.size > MaxMessage {
		return fmt.Errorf("%w: a message of %d frames, %d bytes", errFraming, g.frames, g.size)
	}
	if flags&flagMore == 0 {
		g.frames, g.size = 0, 0
	}
	if size > unheeded {
		return g.gather(int(size), width)
	}
	g.staged, g.body = g.head[:width], int(size)
	g.hold(int(size))
	return nil
}

// gather reads a long frame before zmq4, which believes its length, makes room
// for it: memory grows with what has come, and is counted.
func (g *guard) gather(size, width int) error {
	b := append(make([]byte, 0, unheeded), g.head[:width]...)
	for size += width; len(b) < size; {
		b = slices.Grow(b, min(size-len(b), len(b)))
		n, err := g.in.Read(b[len(b):min(size, cap(b))])
		b = b[:len(b)+n]
		if err != nil {
			return err
		}
		g.hold(n)
	}
	g.staged = b
	return nil
}

// hold counts bytes of a message that is not whole.
func (g *guard) hold(n int) {
	g.got += n
	if g.conn != nil {
		g.conn.hold(g.got)
	}
}

// command reads a command whole. During the handshake a sound one is passed
// on; behind it PING is answered and everything else ignored.
func (g *guard) command(flags byte, size uint64, width int) error {
	if size > maxCommand || flags&flagMore != 0 || g.frames > 0 {
		return fmt.Errorf("%w: a command of %d bytes, flags 0x%x", errFraming, size, flags)
	}
	frame := make([]byte, width+int(size))
	copy(frame, g.head[:width])
	body := frame[width:]
	if _, err := readFull(g.in, body); err != nil {
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

// readFull fills p; the end of the stream inside it is an error of its own.
func readFull(r *bufio.Reader, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
