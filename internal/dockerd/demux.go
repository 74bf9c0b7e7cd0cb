package dockerd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// pieceSize is about how much an Output gets at a time, at most.
const pieceSize = 32 << 10

// demux hands on what Docker packs into one stream: frames of a byte for the
// output, three of nothing, four for the length, and the bytes. A log has a
// frame for each line: what is there already goes on as one piece.
func demux(r io.Reader, out Output) error {
	in := bufio.NewReaderSize(r, 2*pieceSize)
	d := piece{out: out}
	for {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return errors.Join(d.flush(), unlessEOF(err))
		}
		if head[0] > 2 {
			why, _ := io.ReadAll(io.LimitReader(in, min(int64(binary.BigEndian.Uint32(head[4:])), 1<<10))) // as far as it came
			return errors.Join(d.flush(), fmt.Errorf("docker broke the stream off: %q", why))
		}
		from := Stdout
		if head[0] == 2 {
			from = Stderr
		}
		for size := int(binary.BigEndian.Uint32(head[4:])); size > 0; {
			n, err := d.read(in, from, size)
			if size -= n; err != nil {
				return errors.Join(d.flush(), unlessEOF(err))
			}
		}
		if in.Buffered() == 0 {
			if err := d.flush(); err != nil {
				return err
			}
		}
	}
}

// unlessEOF drops the error that says that the stream has ended; the engine
// ends it anywhere when its container is gone.
func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// piece is what has come of one output and was not handed on yet.
type piece struct {
	out  Output
	from Stream
	held []byte
}

// read takes up to n bytes of an output, and hands on what is in their way.
func (p *piece) read(r io.Reader, from Stream, n int) (int, error) {
	if len(p.held) >= pieceSize || from != p.from {
		if err := p.flush(); err != nil {
			return 0, err
		}
	}
	p.from = from
	n = min(n, pieceSize-len(p.held))
	was := len(p.held)
	p.held = append(p.held, make([]byte, n)...)
	got, err := io.ReadFull(r, p.held[was:])
	p.held = p.held[:was+got]
	return got, err
}

func (p *piece) flush() error {
	if len(p.held) == 0 {
		return nil
	}
	err := p.out(p.from, p.held)
	p.held = p.held[:0]
	return err
}
