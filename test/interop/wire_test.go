package interop_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// table is testdata/wire.txt: the name of an event and its pattern.
type table map[string]string

func readTable(t *testing.T) table {
	t.Helper()
	b, err := os.ReadFile("testdata/wire.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := table{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, pattern, ok := strings.Cut(line, "  ")
		if !ok {
			t.Fatalf("wire.txt: %q", line)
		}
		all[name] = strings.TrimSpace(pattern)
	}
	return all
}

// bound is what the <names> of a pattern stand for, and the {int} it met last.
type bound struct {
	ids map[string]string
	n   int
}

var hexID = regexp.MustCompile(`^[0-9a-f]{32}`)

// match holds b against the pattern called name, byte by byte; every <event>
// is a new id.
func (all table) match(name string, b []byte, in *bound) error {
	pattern, ok := all[name]
	if !ok {
		return fmt.Errorf("wire.txt has no %q", name)
	}
	at := 0
	for pattern != "" {
		var token string
		if pattern[0] == '\'' {
			end := strings.IndexByte(pattern[1:], '\'') + 2
			token, pattern = pattern[:end], pattern[end:]
		} else {
			token, pattern, _ = strings.Cut(pattern, " ")
		}
		pattern = strings.TrimLeft(pattern, " ")
		n, err := in.token(token, b[at:])
		if err != nil {
			return fmt.Errorf("%s: at byte %d: %w, got % x", name, at, err, b)
		}
		at += n
	}
	if at != len(b) {
		return fmt.Errorf("%s: %d bytes too many: % x", name, len(b)-at, b)
	}
	return nil
}

// token matches one token at the start of b and says how many bytes it took.
func (in *bound) token(token string, b []byte) (int, error) {
	want := ""
	switch token[0] {
	case '*':
		return len(b), nil
	case '{':
		n, width := shortInt(b)
		if width == 0 {
			return 0, fmt.Errorf("no whole number as short as it can be")
		}
		in.n = n
		return width, nil
	case '<':
		id := hexID.FindString(string(b))
		if id == "" {
			return 0, fmt.Errorf("no id")
		}
		if token != "<event>" {
			if known, ok := in.ids[token]; ok && known != id {
				return 0, fmt.Errorf("%s is %s, not %s", token, id, known)
			}
			in.ids[token] = id
		}
		return len(id), nil
	case '\'':
		want = strings.Trim(token, "'")
	default:
		raw, err := hex.DecodeString(token)
		if err != nil {
			return 0, err
		}
		want = string(raw)
	}
	if !strings.HasPrefix(string(b), want) {
		return 0, fmt.Errorf("want %s", token)
	}
	return len(want), nil
}

// shortInt reads a whole number up to 65535 that is written as short as
// msgpack can; width 0 is anything else.
func shortInt(b []byte) (n, width int) {
	switch {
	case len(b) > 0 && b[0] < 0x80:
		return int(b[0]), 1
	case len(b) > 1 && b[0] == 0xcc && b[1] >= 0x80:
		return int(b[1]), 2
	case len(b) > 2 && b[0] == 0xcd && b[1] > 0:
		return int(b[1])<<8 | int(b[2]), 3
	}
	return 0, 0
}
