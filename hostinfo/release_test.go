package hostinfo_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"longshore/internal/placement"
)

func TestOperatorReleasesTheGuard(t *testing.T) {
	sweep(t, 10, func(w *world) {
		if freed, err := w.c.ReleaseGuard(t.Context()); err != nil || len(freed) != 0 {
			t.Errorf("nothing is held, and released is %v, %v", freed, err)
		}
		w.set(false, "n01", "n02", "n03")
		time.Sleep(5 * time.Minute)
		why, err := w.c.Holding(t.Context())
		if err != nil || !strings.Contains(why, "3 of 10 nodes fell silent together") || !strings.Contains(why, "schedctl guard release") {
			t.Errorf("holding %q, %v", why, err)
		}
		freed, err := w.c.ReleaseGuard(t.Context())
		if err != nil || !slices.Equal(freed, []placement.NodeID{"n01", "n02", "n03"}) {
			t.Errorf("released %v, %v", freed, err)
		}
		time.Sleep(45 * time.Second)
		if got := w.l.losses(); len(got) != 3 || w.state("n03") != placement.NodeLost {
			t.Errorf("lost %+v after the release, n03 is %s", got, w.state("n03"))
		}
		if why, err := w.c.Holding(t.Context()); err != nil || why != "" {
			t.Errorf("holding %q, %v", why, err)
		}
		before := len(w.l.losses())
		w.set(true, "n01", "n02", "n03")
		time.Sleep(10 * time.Second)
		w.set(false, "n01", "n02", "n03") // another silence: guarded anew
		time.Sleep(5 * time.Minute)
		if got := w.l.losses(); len(got) != before {
			t.Errorf("lost %+v, though these silences nobody released", got[before:])
		}
	})
}
