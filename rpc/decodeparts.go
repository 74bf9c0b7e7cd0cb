package rpc

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// sliceOf decodes arrays: into a new slice, so that what the old one held
// stays as it is.
func sliceOf(t reflect.Type, elem *plan) func(d *cursor, v reflect.Value) error {
	return func(d *cursor, v reflect.Value) error {
		h, code, err := d.head()
		switch {
		case err != nil:
			return err
		case code == codeNil:
			v.SetZero()
			return nil
		case h.kind != kindArray:
			return errors.New("no list")
		}
		s := reflect.MakeSlice(t, h.children, h.children)
		for i := range h.children {
			if err := elem.decode(d, s.Index(i)); err != nil {
				return fmt.Errorf("item %d: %w", i, err)
			}
		}
		v.Set(s)
		return nil
	}
}

// mapOf decodes maps by text; what is in the map already stays in it.
func mapOf(t reflect.Type, elem *plan) func(d *cursor, v reflect.Value) error {
	return func(d *cursor, v reflect.Value) error {
		h, code, err := d.head()
		switch {
		case err != nil:
			return err
		case code == codeNil:
			v.SetZero()
			return nil
		case h.kind != kindMap:
			return errors.New("no map")
		}
		n := h.children / 2
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

// decode takes a map; fields that it does not name stay as they are.
func (s *structure) decode(d *cursor, v reflect.Value) error {
	h, code, err := d.head()
	switch {
	case err != nil:
		return err
	case code == codeNil:
		v.SetZero()
		return nil
	case h.kind != kindMap:
		return fmt.Errorf("no map, for a %v", v.Type())
	}
	next := 0
	for range h.children / 2 {
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
		next = at + 1
		if err := f.plan.decode(d, v.Field(f.index)); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}
