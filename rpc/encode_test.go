package rpc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// kindly is one of each that a type can be.
type kindly struct {
	Plain   int
	hidden  int                 //nolint:unused // it must not travel
	Away    int                 `json:"-"`
	I8      int8                `json:"i8,omitempty"`
	I64     int64               `json:"i64"`
	U8      uint8               `json:"u8"`
	U64     uint64              `json:"u64,omitempty"`
	F32     float32             `json:"f32,omitempty"`
	F64     float64             `json:"f64,omitempty"`
	On      bool                `json:"on,omitempty"`
	Text    string              `json:"text,omitempty"`
	Data    []byte              `json:"data,omitempty"`
	Few     [2]int              `json:"few"`
	Texts   []string            `json:"texts,omitempty"`
	Labels  map[string]string   `json:"labels,omitempty"`
	Bare    map[string]string   `json:"bare"`
	Numbers map[string]int      `json:"numbers"`
	Lists   map[string][]string `json:"lists,omitempty"`
	Any     any                 `json:"any"`
	Anys    []any               `json:"anys"`
	Raw     msgpack.RawMessage  `json:"raw"`
	JSON    json.RawMessage     `json:"json"`
	Took    time.Duration       `json:"took"`
	Pointer *int                `json:"pointer,omitempty"`
	Next    *kindly             `json:"next"`
	Kids    []kindly            `json:"kids,omitempty"`
	Err     error               `json:"err"`
	Shout   shout               `json:"shout"`
	Inner   struct {
		A int `json:"a"`
	} `json:"inner"`
}

// shout encodes itself.
type shout string

func (s shout) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(string(s))), nil }

type embedding struct {
	thing
	More int `json:"more"`
}

type zeroable struct {
	At   time.Duration `json:"at,omitzero"`
	Some [0]int        `json:"some,omitempty"`
}

// TestEncodesAsLibrary: what we encode is byte for byte what msgpack would,
// zero and not.
func TestEncodesAsLibrary(t *testing.T) {
	five, long := 5, strings.Repeat("x", 70_000)
	full := kindly{
		Plain: 1, Away: 2, I8: -128, I64: math.MinInt64, U8: 255, U64: math.MaxUint64, F32: 1.5, F64: math.Inf(-1), On: true,
		Text: "t", Data: []byte{1}, Few: [2]int{1, 2}, Texts: []string{"", "a", long}, Labels: map[string]string{"b": "1", "a": long},
		Bare: map[string]string{}, Numbers: map[string]int{"z": -1000}, Lists: map[string][]string{"l": nil}, Any: nested(), Anys: []any{nil, 1, "a", uint8(3)},
		Raw: msgpack.RawMessage{5}, JSON: json.RawMessage("{}"), Took: time.Second, Pointer: &five, Next: &kindly{}, Kids: make([]kindly, 20),
		Err: errors.New("err"), Shout: "hey",
	}
	many := map[string]string{}
	for i := range 40 {
		many[fmt.Sprint("key ", i)] = fmt.Sprint(i)
	}
	values := []any{
		nil, full, &full,
		kindly{},
		(*kindly)(nil),
		[]kindly{full, {}},
		embedding{},
		&embedding{thing: payload(), More: 3},
		zeroable{},
		&zeroable{At: 3},
		payload(), sample(), []string(nil),
		[]string{},
		many, map[string]string(nil), []byte(nil),
		[]byte{},
		[]byte(long), long, "", true, false,
		1.5, float32(1.5), math.NaN(), time.Second,
		[3]string{"a"},
		[]int(nil),
		[][]int{nil, {1}},
		map[string]any{"b": 1, "a": []any{full}},
		shout("a"), errors.New("x"),
		struct{}{},
		[]*int{nil, &five},
		map[int]string{1: "a"},
		uint16(40_000),
		[]time.Duration{1, -1},
	}
	for _, n := range []int64{0, 1, -1, -32, -33, 127, 128, 255, 256, -128, -129, 32767, -32768, -32769, 65535, 65536, 1 << 31, 1<<32 - 1, 1 << 32, -1 << 31, -1<<31 - 1, math.MaxInt64} {
		values = append(values, n, int(n), int32(n), int16(n), int8(n), uint64(n), uint(n), uint32(n), uint16(n), uint8(n))
	}
	for _, v := range values {
		ours, library, err := rpc.Marshal(v)
		if err != nil || !bytes.Equal(ours, library) {
			t.Errorf("%T %.100v: %v\n%.200x\n%.200x", v, v, err, ours, library)
		}
	}
}

func nested() any { return map[string]any{"k": []string{"v"}} }
