package rpc

import (
	"fmt"
	"reflect"
	"strings"
)

// children reads the head of an array or map; without one there was a nil,
// which has set v to its zero value.
func (d *cursor) children(v reflect.Value, want kind) (n int, ok bool, err error) {
	h, code, err := d.head()
	switch {
	case err != nil:
		return 0, false, err
	case code == codeNil:
		v.SetZero()
		return 0, false, nil
	case h.kind == want && want == kindMap:
		return h.children / 2, true, nil
	case h.kind == want:
		return h.children, true, nil
	case want == kindMap:
		return 0, false, fmt.Errorf("no map, for a %v", v.Type())
	}
	return 0, false, fmt.Errorf("no list, for a %v", v.Type())
}

// sliceOf decodes arrays: into a new slice, so that what the old one held
// stays as it is.
func sliceOf(t reflect.Type, elem *plan) func(d *cursor, v reflect.Value) error {
	return func(d *cursor, v reflect.Value) error {
		n, ok, err := d.children(v, kindArray)
		if !ok {
			return err
		}
		if n == 0 {
			v.Set(reflect.MakeSlice(t, 0, 0))
			return nil
		}
		v.SetZero()
		v.Grow(n)
		v.SetLen(n)
		for i := range n {
			if err := elem.decode(d, v.Index(i)); err != nil {
				return fmt.Errorf("item %d: %w", i, err)
			}
		}
		return nil
	}
}

// texts is sliceOf for the most frequent of slices.
func (d *cursor) texts(v reflect.Value) error {
	n, ok, err := d.children(v, kindArray)
	if !ok {
		return err
	}
	all := make([]string, n)
	for i := range all {
		if all[i], err = d.textual(); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	*v.Addr().Interface().(*[]string) = all
	return nil
}

// mapOf decodes maps by text; what is in the map already stays in it.
func mapOf(t reflect.Type, elem *plan) func(d *cursor, v reflect.Value) error {
	return func(d *cursor, v reflect.Value) error {
		n, ok, err := d.children(v, kindMap)
		if !ok {
			return err
		}
		if v.IsNil() {
			v.Set(reflect.MakeMapWithSize(t, n))
		}
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		for range n {
			name, err := d.key()
			if err != nil {
				return err
			}
			key.SetString(name)
			value.SetZero()
			if err := elem.decode(d, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			v.SetMapIndex(key, value)
		}
		return nil
	}
}

// labels is mapOf for the most frequent of maps.
func (d *cursor) labels(v reflect.Value) error {
	n, ok, err := d.children(v, kindMap)
	if !ok {
		return err
	}
	all := v.Addr().Interface().(*map[string]string)
	if *all == nil {
		*all = make(map[string]string, n)
	}
	for range n {
		name, err := d.key()
		if err != nil {
			return err
		}
		if (*all)[name], err = d.textual(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func pointerTo(t reflect.Type, elem *plan) func(d *cursor, v reflect.Value) error {
	return func(d *cursor, v reflect.Value) error {
		if d.b[d.pos] == codeNil {
			d.pos++
			v.SetZero()
			return nil
		}
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return elem.decode(d, v.Elem())
	}
}

// structure is how a struct is decoded.
type structure struct {
	fields []field // in the order in which ours are sent
	byName map[string]int
}

type field struct {
	name  string
	index int
	plan  *plan
}

// structOf reads the tags of a struct; nil if the library must do it.
func (p *decoders) structOf(t reflect.Type, young map[reflect.Type]*plan) *structure {
	s := &structure{byName: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous || f.Name == "_msgpack" || f.Tag.Get("msgpack") != "":
			return nil
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		s.byName[name] = len(s.fields)
		s.fields = append(s.fields, field{name, i, p.make(f.Type, young)})
	}
	return s
}

// decode takes a map; fields that it does not name stay as they are. A field
// that is named twice is refused: two readers could take different ones.
func (s *structure) decode(d *cursor, v reflect.Value) error {
	n, ok, err := d.children(v, kindMap)
	if !ok {
		return err
	}
	next := 0
	var few [1]uint64
	seen := few[:]
	if len(s.fields) > 64 {
		seen = make([]uint64, (len(s.fields)+63)/64)
	}
	for range n {
		k, _, err := d.head()
		if err != nil {
			return err
		}
		key := d.b[k.data:k.end]
		at, ok := next, next < len(s.fields) && s.fields[next].name == string(key)
		if !ok {
			at, ok = s.byName[string(key)]
		}
		if !ok {
			if _, err := d.skip(); err != nil {
				return err
			}
			continue
		}
		f := &s.fields[at]
		if seen[at/64]&(1<<(at%64)) != 0 {
			return fmt.Errorf("%s: it is there twice", f.name)
		}
		seen[at/64] |= 1 << (at % 64)
		next = at + 1
		if err := f.plan.decode(d, v.Field(f.index)); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}
