package rpc

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// decoders keeps how values of a type are decoded: the msgpack library finds
// that out for every value anew, which was a fifth of the processor time of a
// call. What is not of a plain kind is left to the library.
type decoders struct{ plans sync.Map } // reflect.Type -> *plan

// plan is how values of one type are decoded.
type plan struct {
	decode func(d *cursor, v reflect.Value) error
}

// cursor walks a scanned value: heads and lengths have been checked.
type cursor struct {
	b    []byte
	pos  int
	text string // b, once a text was cut from it
}

// shared is how long a value may be for its texts to share one string: a short
// text that is kept must not hold a long value in memory.
const shared = 1 << 10

// unmarshal decodes one scanned value. Into an *any, whole numbers come as
// int64 or uint64, text as string, bin as []byte.
func (p *decoders) unmarshal(b []byte, into any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decode: %v", r)
		}
	}()
	if into == nil {
		return nil
	}
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("decode into a %T: it is no pointer", into)
	}
	v = v.Elem()
	return p.of(v.Type()).decode(&cursor{b: b}, v)
}

// of finds the plan of a type, or makes it.
func (p *decoders) of(t reflect.Type) *plan {
	if known, ok := p.plans.Load(t); ok {
		return known.(*plan)
	}
	young := map[reflect.Type]*plan{}
	made := p.make(t, young)
	for t, q := range young {
		p.plans.Store(t, q)
	}
	return made
}

// make makes a plan with those of its parts; young are those being made, for
// types that contain themselves.
func (p *decoders) make(t reflect.Type, young map[reflect.Type]*plan) *plan {
	if known, ok := p.plans.Load(t); ok {
		return known.(*plan)
	}
	if known := young[t]; known != nil {
		return known
	}
	q := &plan{decode: (*cursor).foreign}
	young[t] = q
	if decodesItself(t) {
		return q
	}
	switch k := t.Kind(); {
	case k == reflect.Bool:
		q.decode = (*cursor).boolean
	case k >= reflect.Int && k <= reflect.Int64:
		q.decode = (*cursor).signed
	case k >= reflect.Uint && k <= reflect.Uintptr:
		q.decode = (*cursor).unsigned
	case k == reflect.Float32 || k == reflect.Float64:
		q.decode = (*cursor).float
	case k == reflect.String:
		q.decode = (*cursor).str
	case k == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		q.decode = (*cursor).binary
	case t == reflect.TypeFor[[]string]():
		q.decode = (*cursor).texts
	case t == reflect.TypeFor[map[string]string]():
		q.decode = (*cursor).labels
	case k == reflect.Slice:
		q.decode = sliceOf(t, p.make(t.Elem(), young))
	case k == reflect.Map && t.Key().Kind() == reflect.String && !decodesItself(t.Key()):
		q.decode = mapOf(t, p.make(t.Elem(), young))
	case k == reflect.Pointer:
		q.decode = pointerTo(t, p.make(t.Elem(), young))
	case k == reflect.Interface && t.NumMethod() == 0:
		q.decode = (*cursor).anything
	case k == reflect.Struct:
		if s := p.structOf(t, young); s != nil {
			q.decode = s.decode
		}
	}
	return q
}

// decodesItself is whether the type has ideas of its own of how it is decoded.
func decodesItself(t reflect.Type) bool {
	ideas := []reflect.Type{
		reflect.TypeFor[msgpack.CustomDecoder](), reflect.TypeFor[msgpack.Unmarshaler](),
		reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
	}
	return slices.ContainsFunc(ideas, func(i reflect.Type) bool { return t.Implements(i) || reflect.PointerTo(t).Implements(i) })
}

// foreign leaves the value to the library.
func (d *cursor) foreign(v reflect.Value) error {
	b, err := d.skip()
	if err != nil {
		return err
	}
	dec := msgpack.GetDecoder()
	defer msgpack.PutDecoder(dec)
	dec.Reset(bytes.NewReader(b))
	dec.SetCustomStructTag("json")
	return dec.Decode(v.Addr().Interface())
}

// skip is the value at the cursor, which goes behind it.
func (d *cursor) skip() ([]byte, error) {
	end, err := skip(d.b, d.pos)
	if err != nil {
		return nil, err
	}
	b := d.b[d.pos:end]
	d.pos = end
	return b, nil
}

// head reads the head of the next value; the cursor goes behind it.
func (d *cursor) head() (h head, code byte, err error) {
	h, err = readHead(d.b, d.pos)
	if err == nil {
		code = d.b[d.pos]
		d.pos = h.end
	}
	return h, code, err
}

const codeNil = 0xc0

func (d *cursor) boolean(v reflect.Value) error {
	_, code, err := d.head()
	if err == nil && code != codeNil && code != 0xc2 && code != 0xc3 {
		return errors.New("not true or false")
	}
	v.SetBool(code == 0xc3)
	return err
}

func (d *cursor) signed(v reflect.Value) error {
	at := d.pos
	_, code, err := d.head()
	if err != nil {
		return err
	}
	n, ok := readInt(d.b[at:])
	if !ok && code != codeNil || v.OverflowInt(n) {
		return fmt.Errorf("no whole number that fits %v", v.Type())
	}
	v.SetInt(n)
	return nil
}

func (d *cursor) unsigned(v reflect.Value) error {
	at := d.pos
	_, code, err := d.head()
	if err != nil {
		return err
	}
	n, ok := readInt(d.b[at:])
	ok = ok && n >= 0 || code == codeNil || code == 0xcf // which readInt gives also where it is too large for it
	if !ok || v.OverflowUint(uint64(n)) {
		return fmt.Errorf("no whole number that fits %v", v.Type())
	}
	v.SetUint(uint64(n))
	return nil
}

func (d *cursor) float(v reflect.Value) error {
	f, ok, err := d.number()
	if !ok && err == nil {
		err = errors.New("no number")
	}
	v.SetFloat(f)
	return err
}

// number reads any number, or nil as 0.
func (d *cursor) number() (f float64, ok bool, err error) {
	at := d.pos
	h, code, err := d.head()
	if err != nil {
		return 0, false, err
	}
	switch code {
	case codeNil:
		return 0, true, nil
	case 0xca:
		return float64(math.Float32frombits(uint32(bigEndian(d.b[at+1 : h.end])))), true, nil
	case 0xcb:
		return math.Float64frombits(bigEndian(d.b[at+1 : h.end])), true, nil
	case 0xcf:
		return float64(bigEndian(d.b[at+1 : h.end])), true, nil
	}
	n, ok := readInt(d.b[at:])
	return float64(n), ok, nil
}

func (d *cursor) str(v reflect.Value) error {
	s, err := d.textual()
	v.SetString(s)
	return err
}

// textual reads a str or a bin, or nil as "".
func (d *cursor) textual() (string, error) {
	h, code, err := d.head()
	switch {
	case err != nil || code == codeNil:
		return "", err
	case h.kind != kindStr && h.kind != kindBin:
		return "", errors.New("no text")
	}
	return d.cut(h), nil
}

// cut is a text as a string.
func (d *cursor) cut(h head) string {
	if len(d.b) > shared {
		return string(d.b[h.data:h.end])
	}
	if d.text == "" {
		d.text = string(d.b)
	}
	return d.text[h.data:h.end]
}

func (d *cursor) binary(v reflect.Value) error {
	h, code, err := d.head()
	switch {
	case err != nil:
		return err
	case code == codeNil:
		v.SetZero()
		return nil
	case h.kind != kindStr && h.kind != kindBin:
		return errors.New("neither bytes nor text")
	}
	v.SetBytes(bytes.Clone(d.b[h.data:h.end]))
	return nil
}

// anything decodes what comes.
func (d *cursor) anything(v reflect.Value) error {
	x, err := d.tree()
	if x == nil {
		v.SetZero()
	} else {
		v.Set(reflect.ValueOf(x))
	}
	return err
}

func (d *cursor) tree() (any, error) {
	at := d.pos
	h, code, err := d.head()
	switch {
	case err != nil || code == codeNil:
		return nil, err
	case h.kind == kindStr:
		return d.cut(h), nil
	case h.kind == kindBin:
		return bytes.Clone(d.b[h.data:h.end]), nil
	case h.kind == kindArray:
		return d.list(h.children)
	case h.kind == kindMap:
		return d.dict(h.children / 2)
	case code == 0xc2 || code == 0xc3:
		return code == 0xc3, nil
	case code == 0xca || code == 0xcb:
		d.pos = at
		f, _, err := d.number()
		return f, err
	}
	if n, ok := readInt(d.b[at:]); ok {
		return n, nil
	}
	return bigEndian(d.b[at+1 : h.end]), nil
}

func (d *cursor) list(n int) (any, error) {
	all := make([]any, n)
	for i := range all {
		var err error
		if all[i], err = d.tree(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (d *cursor) dict(n int) (any, error) {
	all := make(map[string]any, n)
	for range n {
		key, err := d.key()
		if err != nil {
			return nil, err
		}
		if all[key], err = d.tree(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// key reads the key of a map, which must be text.
func (d *cursor) key() (string, error) {
	h, _, err := d.head()
	if err == nil && h.kind != kindStr && h.kind != kindBin {
		return "", errors.New("a key that is no text")
	}
	if err != nil {
		return "", err
	}
	return d.cut(h), nil
}
