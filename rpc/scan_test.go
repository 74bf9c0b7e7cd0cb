package rpc_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

func TestScan(t *testing.T) {
	nested := func(n int) []byte { return append(bytes.Repeat([]byte{0x91}, n), 0xc0) }
	for name, c := range map[string]struct {
		b            []byte
		in, outgoing bool
	}{
		"nil":                 {[]byte{0xc0}, true, true},
		"negative fixint":     {[]byte{0xff}, true, true},
		"float64":             {[]byte{0xcb, 0, 0, 0, 0, 0, 0, 0, 0}, true, true},
		"float64 cut":         {[]byte{0xcb, 0, 0, 0, 0, 0, 0, 0}, false, false},
		"depth 32":            {nested(rpc.MaxDepth), true, true},
		"depth 33":            {nested(rpc.MaxDepth + 1), false, false},
		"reserved":            {[]byte{0xc1}, false, false},
		"fixext":              {[]byte{0xd4, 1, 1}, false, false},
		"ext8":                {[]byte{0xc7, 1, 1, 1}, false, false},
		"bin8":                {[]byte{0xc4, 1, 1}, true, true},
		"bin8 cut":            {[]byte{0xc4, 2, 1}, false, false},
		"array cut":           {[]byte{0x92, 1}, false, false},
		"map32 of nothing":    {[]byte{0xdf, 0, 0, 0, 0}, true, true},
		"map with int key":    {[]byte{0x81, 1, 1}, true, false},
		"map with bin key":    {[]byte{0x81, 0xc4, 0, 1}, true, false},
		"map with array key":  {[]byte{0x81, 0x90, 1}, false, false},
		"map with map value":  {[]byte{0x81, 0xa0, 0x80}, true, true},
		"second key no text":  {[]byte{0x82, 0xa0, 0x91, 0xc0, 1, 1}, true, false},
		"array in map value":  {[]byte{0x82, 0xa0, 0x91, 1, 0xa1, 'x', 1}, true, true},
		"str cut":             {[]byte{0xa5, 'x'}, false, false},
		"nothing":             {nil, false, false},
		"map16 half a header": {[]byte{0xde, 0}, false, false},
	} {
		if err := rpc.ScanValue(c.b, false); (err == nil) != c.in {
			t.Errorf("%s: %v", name, err)
		}
		if err := rpc.ScanValue(c.b, true); (err == nil) != c.outgoing {
			t.Errorf("%s, outgoing: %v", name, err)
		}
	}
	for text, want := range map[string]string{"a\xffb": "a?b", "\xe6\x97": "??", "日\xe6本": "日?本", "\xed\xa0\x80": "???"} {
		b, err := msgpack.Marshal(text)
		must(t, err)
		must(t, rpc.ScanValue(b, true))
		if !strings.HasSuffix(string(b), want) {
			t.Errorf("%q became %q", text, b)
		}
	}
}
