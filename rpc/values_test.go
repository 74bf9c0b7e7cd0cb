package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"longshore/rpc"
)

// errand is a request with a field of each kind.
type errand struct {
	Name  string           `json:"name"`
	CPU   int64            `json:"cpu"`
	Port  uint16           `json:"port"`
	Epoch uint64           `json:"epoch"`
	Small int8             `json:"small"`
	Share float64          `json:"share"`
	On    bool             `json:"on"`
	List  []string         `json:"list"`
	Map   map[string]int64 `json:"map"`
	Inner *errand          `json:"inner"`
	Data  []byte           `json:"data"`
}

// TestKeysTwice: a field that a map names twice is refused by its name, at any
// depth and in any place; keys that nobody knows are not looked at.
func TestKeysTwice(t *testing.T) {
	epoch, cpu, inner := "\xa5epoch\x01", "\xa3cpu\x02", "\xa5inner"
	for in, want := range map[string]string{
		"\x82" + epoch + epoch:                          "epoch",
		"\x83" + epoch + cpu + epoch:                    "epoch",
		"\x81" + inner + "\x82" + cpu + cpu:             "inner: cpu",
		"\x82" + inner + "\x81" + cpu + inner + "\x80":  "inner",
		"\x82" + epoch + cpu:                            "",
		"\x82" + cpu + inner + "\x82" + epoch + cpu:     "",
		"\x83" + "\xa1z\x01" + cpu + "\xa1z\x02":        "",
		"\x82" + "\xa3cpu\x02" + "\xc4\x03cpu" + "\x03": "cpu",
	} {
		var e errand
		err := rpc.Unmarshal([]byte(in), &e)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want+": it is there twice") {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
	var fields []reflect.StructField
	for i := range 70 {
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%02d", i), Type: reflect.TypeFor[int]()})
	}
	wide := reflect.New(reflect.StructOf(fields)).Interface()
	must(t, rpc.Unmarshal([]byte("\x82\xa3F01\x01\xa3F65\x01"), wide))
	if err := rpc.Unmarshal([]byte("\x83\xa3F65\x01\xa3F01\x01\xa3F65\x01"), wide); err == nil || err.Error() != "F65: it is there twice" {
		t.Errorf("of 70 fields: %v", err)
	}
}

// TestHostileValues: a value that a field cannot hold is refused with the name
// of the argument; none is bent into another.
func TestHostileValues(t *testing.T) {
	taken := errand{}
	tr := rpc.Memory()
	at, _ := server(t, tr, "x", rpc.Config{Methods: rpc.Methods{
		"order": rpc.Unary("", "order", func(_ context.Context, _ *rpc.Call, o errand) (int, error) { taken = o; return 1, nil }),
	}})
	l := dial(t, tr, at, rpc.Config{})
	for _, c := range []struct {
		field string
		value any
	}{
		{"cpu", math.NaN()},
		{"cpu", math.Inf(1)},
		{"cpu", 1.5},
		{"cpu", uint64(math.MaxUint64)},
		{"cpu", uint64(1 << 63)},
		{"cpu", "1"},
		{"cpu", []byte{1}},
		{"cpu", []int{1}},
		{"cpu", map[string]int{}},
		{"cpu", true},
		{"port", 65536},
		{"port", -1},
		{"port", 1.0},
		{"port", "80"},
		{"epoch", -1},
		{"epoch", math.NaN()},
		{"epoch", 1e300},
		{"small", 128},
		{"small", -129},
		{"small", uint64(math.MaxUint64)},
		{"share", "0.5"},
		{"share", []any{}},
		{"on", 1},
		{"on", "true"},
		{"name", 5},
		{"name", []string{"x"}},
		{"name", map[string]int{"x": 1}},
		{"name", false},
		{"list", "x"},
		{"list", map[string]string{"0": "x"}},
		{"list", []any{1}},
		{"list", []any{[]string{}}},
		{"map", []int{1}},
		{"map", map[string]string{"a": "b"}},
		{"map", 5},
		{"inner", 5},
		{"inner", "x"},
		{"inner", map[string]any{"port": 70000}},
		{"inner", []any{"name", 1}},
		{"data", 5},
		{"data", []any{1, 2}},
	} {
		var remote *rpc.RemoteError
		err := l.Call(within(t), "order", nil, map[string]any{c.field: c.value})
		if !errors.As(err, &remote) || remote.Name != rpc.NameInvalid || !strings.Contains(remote.Message, "order: argument 1") {
			t.Errorf("%s = %T %v: %v, taken as %+v", c.field, c.value, c.value, err, taken)
		}
	}
	for name, whole := range map[string]any{ // a struct is a map, nothing else
		"array": []any{"name", 1, 80}, "number": 5, "text": "order", "bin": []byte("order"),
	} {
		if err := l.Call(within(t), "order", nil, whole); err == nil {
			t.Errorf("an order that is a %s was taken as %+v", name, taken)
		}
	}
	// What a field can hold, and keys that nobody knows, are taken.
	must(t, l.Call(within(t), "order", nil, map[string]any{
		"cpu": int64(math.MinInt64), "port": 65535, "epoch": uint64(math.MaxUint64), "small": -128, "share": 2, "name": nil,
		"list": nil, "inner": nil, "unknown": map[string]any{"deep": []any{1}}, "": 1, "NAME": "not the name",
	}))
	if taken.CPU != math.MinInt64 || taken.Port != 65535 || taken.Epoch != math.MaxUint64 || taken.Small != -128 || taken.Share != 2 || taken.Name != "" {
		t.Errorf("taken as %+v", taken)
	}
	must(t, l.Call(within(t), "order", nil, map[string]any{"name": long(1 << 20), "data": make([]byte, 1<<20)}))
	if len(taken.Name) != 1<<20 {
		t.Errorf("a text of 1 MiB came as %d bytes", len(taken.Name))
	}
}
