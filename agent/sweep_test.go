package agent_test

import (
	"context"
	"testing"
	"testing/synctest"

	"longshore/internal/placement"
)

// TestSweepSparesWhatStarted: an agent was killed with a start in Docker's
// hands. Its successor lists the copy as created and means to remove it; by
// then it runs, and it is bound.
func TestSweepSparesWhatStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.docker.put(web1, placement.CopyCreated, request())
		w.docker.hook("remove", func(context.Context) error {
			return w.docker.set(web1, placement.CopyRunning, 0)
		})
		w.start()
		w.settle()
		if s := w.docker.state(web1); s != placement.CopyRunning {
			t.Errorf("the copy that started is %q", s)
		}
		w.stop()
	})
}
