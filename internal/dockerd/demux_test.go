package dockerd_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/dockerd"
)

// frame is one as the engine makes it.
func frame(kind byte, s string) string {
	var head [8]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[4:], uint32(len(s)))
	return string(head[:]) + s
}

func TestDemux(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789", 10_000)
	all := frame(1, "a\n") + frame(1, "b\n") + frame(2, "c\n") + frame(1, big) + frame(2, "") + frame(1, "d\n")
	for name, c := range map[string]struct {
		in, out, errs string
		pieces        int // 0: any
		fails         string
	}{
		"lines that are there are one piece": {in: frame(1, "a\n") + frame(1, "b\n"), out: "a\nb\n", pieces: 1},
		"all":                                {in: all, out: "a\nb\n" + big + "d\n", errs: "c\n"},
		"nothing":                            {},
		"cut in a head":                      {in: frame(1, "a") + "\x01\x00", out: "a", pieces: 1},
		"cut in a frame":                     {in: frame(1, "a") + frame(2, "bcd")[:10], out: "a", errs: "bc"},
		"broken off by word":                 {in: frame(1, "a") + frame(3, "no space left"), out: "a", fails: "no space left"},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in))} {
			var out, errs bytes.Buffer
			pieces := 0
			err := dockerd.Demux(r, func(from dockerd.Stream, b []byte) error {
				pieces++
				if len(b) > 64<<10 {
					t.Errorf("%s: a piece of %d bytes", name, len(b))
				}
				if from == dockerd.Stderr {
					errs.Write(b)
				} else {
					out.Write(b)
				}
				return nil
			})
			if d := cmp.Diff([]string{c.out, c.errs}, []string{out.String(), errs.String()}); d != "" {
				t.Errorf("%s, %s: %s", name, how, d)
			}
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(fmt.Sprint(err), c.fails) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			if how == "at once" && c.pieces > 0 && pieces != c.pieces {
				t.Errorf("%s: %d pieces", name, pieces)
			}
		}
	}
	stop := errors.New("enough")
	if err := dockerd.Demux(strings.NewReader(all), func(dockerd.Stream, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an output that fails: %v", err)
	}
}
