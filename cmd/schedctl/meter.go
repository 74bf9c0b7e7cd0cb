package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/go-units"

	"longshore/internal/images"
)

// meterEvery is how often a meter is drawn at most.
const meterEvery = 100 * time.Millisecond

// meter shows how much of something is through, in one line that is drawn over
// and over, and wiped by clear. Where nobody looks on (a pipe, --json) it shows
// nothing.
func (a *app) meter(what string) (show images.Progress, clear func()) {
	if a.json || !isTerminal(a.stderr) {
		return nil, func() {}
	}
	var drawn time.Time
	show = func(done, total int64) {
		if total > 0 && time.Since(drawn) >= meterEvery {
			drawn = time.Now()
			fmt.Fprintf(a.stderr, "\r\x1b[K%s: %s of %s", what, units.BytesSize(float64(done)), units.BytesSize(float64(total)))
		}
	}
	return show, func() {
		if !drawn.IsZero() {
			fmt.Fprint(a.stderr, "\r\x1b[K")
		}
	}
}

// isTerminal tells whether a person may be reading w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
