package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// encoder is a msgpack encoder with its buffer: one event at a time.
type encoder struct {
	buf    bytes.Buffer
	enc    *msgpack.Encoder
	plans  *writers // nil: the library does all
	frames [][]byte // of the message, when it is sent
}

// encoders keeps encoders between events, without the buffers of big ones.
type encoders struct {
	pool  sync.Pool
	plans writers
}

func (p *encoders) get() *encoder {
	if e, ok := p.pool.Get().(*encoder); ok {
		return e
	}
	return &encoder{enc: msgpack.NewEncoder(nil), plans: &p.plans}
}

func (p *encoders) put(e *encoder) {
	if e.buf.Cap() <= 64<<10 {
		p.pool.Put(e)
	}
}

// copy stores v in into as if it had been sent.
func (s *service) copy(v, into any) error {
	e := s.pool.get()
	defer s.pool.put(e)
	e.reset()
	if err := e.value(v); err != nil {
		return err
	}
	if err := e.seal(); err != nil {
		return err
	}
	return s.plans.unmarshal(e.buf.Bytes(), into)
}

func (e *encoder) reset() {
	e.buf.Reset()
	e.enc.Reset(&e.buf)
	e.enc.SetCustomStructTag("json")
	e.enc.UseCompactInts(true)
	e.enc.SetSortMapKeys(true)
}

// event starts an event; values follow, then seal. It fails only by extra keys.
func (e *encoder) event(o *opening) error {
	e.reset()
	e.buf.Write(o.append(e.buf.AvailableBuffer()))
	if len(o.extra) > maxExtra {
		return fmt.Errorf("%d extra keys in the header, at most %d", len(o.extra), maxExtra)
	}
	for _, x := range o.extra {
		if err := e.extra(x); err != nil {
			return fmt.Errorf("header key %s: %w", x.key, err)
		}
	}
	e.buf.Write(appendText(e.buf.AvailableBuffer(), o.name))
	return nil
}

func (e *encoder) extra(x extra) error {
	if reserved(x.key) {
		return errors.New("it is the protocol's own")
	}
	if err := e.enc.EncodeString(x.key); err != nil {
		return err
	}
	return e.value(x.value)
}

// list writes the args of most events: an array of values.
func (e *encoder) list(values ...any) error {
	if err := e.enc.EncodeArrayLen(len(values)); err != nil {
		return err
	}
	for _, v := range values {
		if err := e.value(v); err != nil {
			return err
		}
	}
	return nil
}

// value writes one value. A panic of a value's own marshaller is an error.
func (e *encoder) value(v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("encode %T: %v", v, r)
		}
	}()
	if v == nil || e.plans == nil {
		err = e.enc.Encode(v)
	} else {
		r := reflect.ValueOf(v)
		err = e.plans.of(r.Type()).encode(e, r)
	}
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	return nil
}

// seal ends the event, held to the same bounds as what we receive: what the
// peer would refuse fails here, with a reason.
func (e *encoder) seal() error {
	b := e.buf.Bytes()
	if len(b) > MaxFrame {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(b), MaxFrame)
	}
	s := scanner{outgoing: true}
	end, err := s.value(b, 0)
	if err == nil && end != len(b) {
		err = errBytes
	}
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return nil
}

// pack encodes one value as an event would have it.
func pack(v any) (msgpack.RawMessage, error) {
	var e encoder
	e.enc = msgpack.NewEncoder(nil)
	e.reset()
	if err := e.value(v); err != nil {
		return nil, err
	}
	if n := e.buf.Len(); n > MaxFrame {
		return nil, invalid("the result: %v: %d bytes, at most %d", ErrTooLarge, n, MaxFrame)
	}
	return e.buf.Bytes(), nil
}

// reserved is whether a key of the header is the protocol's.
func reserved(key string) bool {
	return key == keyID || key == keyVersion || key == keyResponseTo || key == keyDeadline
}
