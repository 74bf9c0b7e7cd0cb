package rpc

import (
	"encoding"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// writers keeps how values of a type are encoded, as decoders does for the
// other direction: byte for byte what the msgpack library makes of them.
type writers struct{ plans sync.Map } // reflect.Type -> *writer

// writer is how values of one type are encoded.
type writer struct {
	encode func(e *encoder, v reflect.Value) error
}

// of finds the writer of a type, or makes it.
func (p *writers) of(t reflect.Type) *writer {
	if known, ok := p.plans.Load(t); ok {
		return known.(*writer)
	}
	young := map[reflect.Type]*writer{}
	made := p.make(t, young)
	for t, w := range young {
		p.plans.Store(t, w)
	}
	return made
}

// make makes a writer with those of its parts; young are those being made.
func (p *writers) make(t reflect.Type, young map[reflect.Type]*writer) *writer {
	if known := young[t]; known != nil {
		return known
	}
	w := &writer{encode: (*encoder).foreign}
	young[t] = w
	if encodesItself(t) {
		return w
	}
	switch k := t.Kind(); {
	case k == reflect.Bool:
		w.encode = (*encoder).boolean
	case k >= reflect.Int && k <= reflect.Int64:
		w.encode = (*encoder).signed
	case k >= reflect.Uint && k <= reflect.Uint64:
		w.encode = (*encoder).unsigned
	case k == reflect.Float64:
		w.encode = (*encoder).float
	case k == reflect.String:
		w.encode = (*encoder).str
	case t == reflect.TypeFor[map[string]string]():
		w.encode = (*encoder).labels
	case k == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		w.encode = eachOf(p.make(t.Elem(), young))
	case k == reflect.Pointer:
		w.encode = pointed(p.make(t.Elem(), young))
	case k == reflect.Struct:
		if fields, ok := p.fieldsOf(t, young); ok {
			w.encode = fields.encode
		}
	}
	return w
}

// encodesItself is whether the type has ideas of its own of how it is encoded.
func encodesItself(t reflect.Type) bool {
	ideas := []reflect.Type{
		reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.Marshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.TextMarshaler](),
		reflect.TypeFor[error](), reflect.TypeFor[interface{ IsZero() bool }](),
	}
	return slices.ContainsFunc(ideas, func(i reflect.Type) bool { return t.Implements(i) || reflect.PointerTo(t).Implements(i) })
}

// foreign leaves the value to the library.
func (e *encoder) foreign(v reflect.Value) error { return e.enc.EncodeValue(v) }

func (e *encoder) null() error { return e.buf.WriteByte(codeNil) }

func (e *encoder) boolean(v reflect.Value) error {
	if v.Bool() {
		return e.buf.WriteByte(0xc3)
	}
	return e.buf.WriteByte(0xc2)
}

func (e *encoder) signed(v reflect.Value) error {
	n := v.Int()
	if n >= -32 && n < 128 {
		return e.buf.WriteByte(byte(n))
	}
	return e.enc.EncodeInt(n)
}

func (e *encoder) unsigned(v reflect.Value) error { return e.enc.EncodeUint(v.Uint()) }

func (e *encoder) float(v reflect.Value) error {
	b := append(e.buf.AvailableBuffer(), 0xcb)
	_, err := e.buf.Write(binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float())))
	return err
}

func (e *encoder) str(v reflect.Value) error { return e.text(v.String()) }

func (e *encoder) text(s string) error {
	if len(s) > math.MaxUint16 {
		return e.enc.EncodeString(s)
	}
	_, err := e.buf.Write(appendText(e.buf.AvailableBuffer(), s))
	return err
}

// labels writes the keys in order.
func (e *encoder) labels(v reflect.Value) error {
	if v.IsNil() {
		return e.null()
	}
	all := v.Interface().(map[string]string)
	var few [16]string
	keys := few[:0]
	for k := range all {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if err := e.enc.EncodeMapLen(len(keys)); err != nil {
		return err
	}
	for _, k := range keys {
		if err := e.text(k); err != nil {
			return err
		}
		if err := e.text(all[k]); err != nil {
			return err
		}
	}
	return nil
}

func eachOf(elem *writer) func(e *encoder, v reflect.Value) error {
	return func(e *encoder, v reflect.Value) error {
		if v.IsNil() {
			return e.null()
		}
		if err := e.enc.EncodeArrayLen(v.Len()); err != nil {
			return err
		}
		for i := range v.Len() {
			if err := elem.encode(e, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func pointed(elem *writer) func(e *encoder, v reflect.Value) error {
	return func(e *encoder, v reflect.Value) error {
		if v.IsNil() {
			return e.null()
		}
		return elem.encode(e, v.Elem())
	}
}

// columns is how a struct is encoded.
type columns []column

type column struct {
	index  int
	key    []byte // encoded
	omit   bool   // when it is empty
	writer *writer
}

// fieldsOf reads the tags of a struct; ok is false if the library must do it.
func (p *writers) fieldsOf(t reflect.Type, young map[reflect.Type]*writer) (_ columns, ok bool) {
	var all columns
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		omit := options == "omitempty"
		switch {
		case f.Anonymous || f.Name == "_msgpack" || f.Tag.Get("msgpack") != "":
			return nil, false
		case !f.IsExported() || name == "-":
			continue
		case options != "" && !omit, omit && f.Type.Kind() == reflect.Struct, omit && f.Type.Kind() == reflect.Interface, omit && encodesItself(f.Type):
			return nil, false
		case name == "":
			name = f.Name
		}
		all = append(all, column{i, appendText(nil, name), omit, p.make(f.Type, young)})
	}
	return all, true
}

func (all columns) encode(e *encoder, v reflect.Value) error {
	n := len(all)
	for i := range all {
		if all[i].skipped(v) {
			n--
		}
	}
	if err := e.enc.EncodeMapLen(n); err != nil {
		return err
	}
	for i := range all {
		if all[i].skipped(v) {
			continue
		}
		e.buf.Write(all[i].key)
		if err := all[i].writer.encode(e, v.Field(all[i].index)); err != nil {
			return err
		}
	}
	return nil
}

func (c *column) skipped(v reflect.Value) bool {
	if !c.omit {
		return false
	}
	f := v.Field(c.index)
	if k := f.Kind(); k == reflect.Map || k == reflect.Slice || k == reflect.Array {
		return f.Len() == 0
	}
	return f.IsZero()
}
