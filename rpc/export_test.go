package rpc

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/vmihailenco/msgpack/v5"
)

// Scan checks one whole event as the link does, for the fuzzer: the header
// must be usable, the arguments may be refused apart.
func Scan(b []byte) (argsErr, err error) {
	e, err := parseEvent(b)
	return e.argsErr, err
}

// Opening is the raw id of an event, and whether it opens a channel.
func Opening(b []byte) (id []byte, opens bool, err error) {
	e, err := parseEvent(b)
	return e.id, e.responseTo == nil && !strings.HasPrefix(e.name, "_zpc_"), err
}

// Hear shakes hands with who speaks on conn, as a listener does, and counts
// the frames and bytes of its messages until there is an error.
func Hear(conn net.Conn) (frames, size int) {
	t := ZMQ(ZMQOptions{}).(*zmqTransport)
	c, err := t.open(context.Background(), conn, nil, zmq4.Router, "", Peer{UID: -1}, nil)
	if err != nil {
		return 0, 0
	}
	defer c.Close()
	for {
		msg, err := c.Recv()
		if err != nil {
			return frames, size
		}
		frames += len(msg)
		for _, f := range msg {
			size += len(f)
		}
	}
}

// ScanValue walks one value that must be all of b.
func ScanValue(b []byte, outgoing bool) error {
	s := scanner{outgoing: outgoing}
	end, err := s.value(b, 0)
	if err == nil && end != len(b) {
		return errBytes
	}
	return err
}

// Unmarshal decodes one scanned value.
func Unmarshal(b []byte, into any) error { return new(decoders).unmarshal(b, into) }

// Marshal encodes a value as we do, and as the library does it.
func Marshal(v any) (ours, library []byte, err error) {
	e := new(encoders).get()
	e.reset()
	if err := e.value(v); err != nil {
		return nil, nil, err
	}
	l := &encoder{enc: msgpack.NewEncoder(nil)}
	l.reset()
	err = l.value(v)
	return e.buf.Bytes(), l.buf.Bytes(), err
}

// TurnWheel turns a wheel of one pulse, begun at 0, at the times given; the
// peer is heard at the others. It returns when it was lost, or 0.
func TurnWheel(period time.Duration, turns, heard []time.Duration) time.Duration {
	var w wheel
	var p pulse
	start := time.Now()
	w.add(&p, start.Add(period))
	for _, at := range turns {
		for len(heard) > 0 && heard[0] < at {
			p.seen = start.Add(heard[0])
			heard = heard[1:]
		}
		if _, lost, _ := w.turn(start.Add(at), period); len(lost) > 0 {
			return at
		}
	}
	return 0
}
