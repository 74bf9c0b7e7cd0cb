package rpc

import (
	"fmt"
	"unicode/utf8"
)

// Names of the events that are no method calls.
const (
	eventOK     = "OK"
	eventErr    = "ERR"
	eventStream = "STREAM"
	eventDone   = "STREAM_DONE"
	eventBeat   = "_zpc_hb"
	eventMore   = "_zpc_more"
	// eventCancel is ours: the caller has gone, stop its handler. One way, no
	// answer. Stock peers queue it on the channel and never look at it.
	eventCancel = "_zpc_cancel"
)

// Keys of the header that are the protocol's.
const (
	keyID         = "message_id"
	keyVersion    = "v"
	keyResponseTo = "response_to"
)

// version is the protocol version of every event we send.
const version = 3

// event is one parsed message. Its slices point into the received frame.
type event struct {
	id         []byte // message_id, with its msgpack head
	responseTo []byte // the same of response_to; nil in an opening event
	v          int64
	left       []byte // deadline_ms, raw; nil none
	moment     []byte // deadline, raw; nil none
	header     []byte
	name       string
	args       []byte // one msgpack value
	argsErr    error  // why args must not be decoded
}

// parseEvent checks and splits b. An error means that not even the header can
// be used; unusable arguments are told by argsErr, so that they can be answered.
func parseEvent(b []byte) (event, error) {
	var s scanner
	h, err := readHead(b, 0)
	if err != nil {
		return event{}, err
	}
	if h.kind != kindArray || h.children != 3 {
		return event{}, fmt.Errorf("%w: an event is an array of 3", errBytes)
	}
	headerEnd, err := s.value(b, h.end)
	if err != nil {
		return event{}, fmt.Errorf("header: %w", err)
	}
	e := event{v: 1, header: b[h.end:headerEnd]}
	if err := e.parseHeader(); err != nil {
		return event{}, fmt.Errorf("header: %w", err)
	}
	name, err := readHead(b, headerEnd)
	if err != nil {
		return event{}, fmt.Errorf("name: %w", err)
	}
	if name.kind != kindStr && name.kind != kindBin {
		return event{}, fmt.Errorf("%w: the name is no text", errBytes)
	}
	e.name = string(b[name.data:name.end])
	end, err := s.value(b, name.end)
	switch {
	case err != nil:
		e.argsErr = err
	case end != len(b):
		e.argsErr = fmt.Errorf("%w: %d bytes too many", errBytes, len(b)-end)
	}
	if e.argsErr == nil {
		e.args = b[name.end:end]
	}
	return e, nil
}

// parseHeader reads the keys we know from the scanned header.
func (e *event) parseHeader() error {
	b := e.header
	h, err := readHead(b, 0)
	if err != nil || h.kind != kindMap {
		return fmt.Errorf("%w: the header is no map", errBytes)
	}
	pos := h.end
	for range h.children / 2 {
		key, err := readHead(b, pos)
		if err != nil {
			return err
		}
		end, err := skip(b, key.end)
		if err != nil {
			return err
		}
		value := b[key.end:end]
		switch string(b[key.data:key.end]) {
		case keyID:
			e.id = value
		case keyResponseTo:
			e.responseTo = unlessNil(value)
		case keyVersion:
			e.v, _ = readInt(value)
		case keyDeadline:
			e.left = unlessNil(value)
		case keyMoment:
			e.moment = unlessNil(value)
		}
		pos = end
	}
	return checkID(e.id)
}

// maxID bounds an id, which goes out with every event of its channel. Those of
// stock peers have 32 to 36 bytes.
const maxID = 1 << 10

// checkID refuses what could not be echoed: containers, and text that is no
// UTF-8, which nothing of ours may contain.
func checkID(raw []byte) error {
	if len(raw) == 0 {
		return fmt.Errorf("%w: no message_id", errBytes)
	}
	h, err := readHead(raw, 0)
	switch {
	case err != nil:
		return err
	case len(raw) > maxID:
		return fmt.Errorf("%w: a message_id of %d bytes, more than %d", errBytes, len(raw), maxID)
	case raw[0] == 0xc0, h.kind == kindArray || h.kind == kindMap, h.kind == kindStr && !utf8.Valid(raw[h.data:h.end]):
		return fmt.Errorf("%w: a message_id that is neither bin nor text nor a number", errBytes)
	}
	return nil
}

// unlessNil is a raw value, or nil for msgpack's.
func unlessNil(raw []byte) []byte {
	if raw[0] == 0xc0 {
		return nil
	}
	return raw
}

// skip returns the position behind the scanned value at pos.
func skip(b []byte, pos int) (int, error) {
	s := scanner{}
	return s.value(b, pos)
}

// idText is the text of a raw id, whichever type it came in.
func idText(raw []byte) []byte {
	if h, err := readHead(raw, 0); err == nil && (h.kind == kindStr || h.kind == kindBin) {
		return raw[h.data:h.end]
	}
	return raw
}

// elements splits a scanned array into its values, appended to what is given,
// or says ok false.
func elements(b []byte, values [][]byte) (_ [][]byte, ok bool) {
	h, err := readHead(b, 0)
	if err != nil || h.kind != kindArray {
		return nil, false
	}
	pos := h.end
	for range h.children {
		end, err := skip(b, pos)
		if err != nil {
			return nil, false
		}
		values = append(values, b[pos:end])
		pos = end
	}
	return values, true
}

// opening is how an event starts: its header and its name. What is empty is
// left out.
type opening struct {
	id         [idSize]byte // of ours
	responseTo []byte       // raw
	deadline   int64        // milliseconds
	extra      []extra
	name       string
}

// idSize is how long ids of ours are.
const idSize = 32

// maxExtra is how many keys may be set besides ours: the map's head has one byte.
const maxExtra = 11

// append writes an array of 3 and the header's own keys; the extra ones, the
// name and the args follow.
func (o *opening) append(b []byte) []byte {
	keys := byte(2 + len(o.extra))
	if len(o.responseTo) > 0 {
		keys++
	}
	if o.deadline > 0 {
		keys++
	}
	b = append(b, 0x93, 0x80|keys)
	b = appendText(b, keyID)
	b = append(b, 0xc4, idSize)
	b = append(b, o.id[:]...)
	b = appendText(b, keyVersion)
	b = append(b, version)
	if len(o.responseTo) > 0 {
		b = appendText(b, keyResponseTo)
		b = append(b, o.responseTo...)
	}
	if o.deadline > 0 {
		b = appendText(b, keyDeadline)
		b = appendInt(b, o.deadline)
	}
	return b
}

// appendText writes a str of up to 65535 bytes.
func appendText(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n < 256:
		b = append(b, 0xd9, byte(n))
	default:
		b = append(b, 0xda, byte(n>>8), byte(n))
	}
	return append(b, s...)
}

// appendInt writes a whole number from 0 to 2^63-1.
func appendInt(b []byte, n int64) []byte {
	switch {
	case n < 128:
		return append(b, byte(n))
	case n < 1<<32:
		return append(b, 0xce, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, 0xcf, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
