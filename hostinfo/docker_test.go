package hostinfo_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"longshore/hostinfo"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

type observer struct {
	usage    dockerd.Usage
	measured int
}

func (o *observer) List(context.Context) (dockerd.Listing, error) {
	return dockerd.Listing{
		Daemons:   []placement.DaemonListing{{Owner: "alice", OK: true}},
		Copies:    []placement.Copy{copyOf(web1, placement.CopyRunning)},
		Strangers: []dockerd.Stranger{{Owner: "alice", Name: "mine"}},
	}, nil
}

func (o *observer) Watch(_ context.Context, f func(dockerd.Event)) error {
	f(dockerd.Event{Owner: "alice", Resync: true})
	return nil
}

func (o *observer) Used(context.Context) (dockerd.Usage, error) { return o.usage, nil }
func (o *observer) Disk(context.Context) error                  { o.measured++; return nil }

func TestDockerIsARuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &observer{}
		r := hostinfo.Docker(o)
		for _, c := range []struct {
			cpu   time.Duration // spent so far
			want  int64
			after time.Duration
		}{
			{time.Hour, 0, 0}, // since some boot or other
			{time.Hour + 10*time.Second, 2000, 5 * time.Second},
			{time.Hour + 10*time.Second, 0, 5 * time.Second},
			{time.Minute, 0, 5 * time.Second}, // an owner went
			{time.Minute + time.Second, 100, 10 * time.Second},
		} {
			time.Sleep(c.after)
			o.usage = dockerd.Usage{CPU: c.cpu, Memory: 5, Disk: 6}
			got, err := r.Used(t.Context())
			if want := (placement.Resources{CPU: c.want, Memory: 5, Disk: 6}); err != nil || got != want {
				t.Errorf("used %+v, %v, want %+v", got, err, want)
			}
		}
		if l, err := r.List(t.Context()); err != nil || len(l.Copies) != 1 || len(l.Daemons) != 1 {
			t.Errorf("listing %+v, %v", l, err)
		}
		resync := false
		if err := r.Watch(t.Context(), func(e hostinfo.Event) { resync = e.Resync && e.Owner == "alice" }); err != nil || !resync {
			t.Errorf("watch: %v, resync %v", err, resync)
		}
		if err := r.Measure(t.Context()); err != nil || o.measured != 1 {
			t.Errorf("measure: %v", err)
		}
	})
}
