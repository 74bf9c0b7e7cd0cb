package bench_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
	"longshore/test/cluster"
)

// owner of everything that is measured.
const owner = "alice"

// settle is the rest before each measurement, so that what the last one left
// behind is over.
const settle = 150 * time.Millisecond

// app is one replica of the example program, on the node if one is given.
func app(name, image string, node placement.NodeID) placement.App {
	return placement.App{V: placement.Format, Owner: owner, Name: name, Services: []placement.Service{{
		Name: "web", Replicas: 1,
		Request: placement.Request{
			V: placement.Format, Image: image, Node: node, Env: []string{"PORT=0"}, // any: all lie in one net container
			Needs: placement.Resources{CPU: 20, Memory: 16 << 20},
			// A low cap would throttle Docker's own work in the container's
			// cgroup, a tenth of a second at a time, and hide all else.
			Limits: placement.Resources{CPU: 1000, Memory: 64 << 20},
		},
	}}}
}

// client is one connection to the broadcaster, with a watch over everything of
// the owner open on it.
type client struct {
	t      testing.TB
	link   *rpc.Link
	events chan seen
}

// seen is an event and when it came.
type seen struct {
	placement.Event
	at time.Time
}

// dial opens the connection and the watch, whose snapshot is past when it
// returns.
func dial(t testing.TB, c *cluster.Cluster) *client {
	t.Helper()
	k := &client{t: t, link: c.Link(), events: make(chan seen, 10_000)}
	stream, err := k.link.Stream(t.Context(), "events", placement.Filter{Owner: owner, All: true})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(k.events)
		for {
			var e placement.Event
			if stream.Next(&e) != nil {
				return // the link was closed: whoever waits is told by the channel
			}
			k.events <- seen{e, time.Now()}
		}
	}()
	k.await("the snapshot", func(e seen) bool { return e.Synced })
	return k
}

// await returns the first event that is wanted.
func (k *client) await(what string, wanted func(seen) bool) seen {
	k.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case e, open := <-k.events:
			if !open {
				k.t.Fatalf("the watch ended before %s", what)
			}
			if wanted(e) {
				return e
			}
		case <-limit:
			k.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// started is how a start went.
type started struct {
	id    placement.ID
	began time.Time // the call
	bound time.Time // the event that says so
	took  time.Duration
}

// run submits the app and waits until it is running; the time is from the call
// to the event.
func (k *client) run(a placement.App) (s started) {
	k.t.Helper()
	s.began = time.Now()
	k.submit(a)
	e := k.await(a.Name+" runs", func(e seen) bool {
		ours := e.Replica.App() == a.Name
		if ours && e.State == placement.Bound && s.bound.IsZero() {
			s.bound = e.at
		}
		return ours && e.State == placement.Running
	})
	s.id, s.took = e.ID, e.at.Sub(s.began)
	return s
}

func (k *client) submit(a placement.App) {
	k.t.Helper()
	if err := k.link.Call(k.t.Context(), "submit", nil, a); err != nil {
		k.t.Fatal(err)
	}
}

// remove ends apps and waits until their containers are gone from the daemons.
// (The ledger forgets them when the next complete listing proves that, within
// seconds; nothing that is measured waits for it.)
func (k *client) remove(c *cluster.Cluster, names ...string) {
	k.t.Helper()
	for _, name := range names {
		if err := k.link.Call(k.t.Context(), "remove", nil, placement.Filter{Owner: owner, App: name}); err != nil {
			k.t.Fatal(err)
		}
	}
	cluster.Eventually(k.t, time.Minute, "what was removed is gone", func() error {
		for _, s := range c.Look().Seen {
			if slices.Contains(names, s.ID.Replica().App()) {
				return fmt.Errorf("%s is there", s.ID)
			}
		}
		return nil
	})
}

// median of durations; 0 of none.
func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	at := q * float64(len(d)-1)
	low := int(at)
	high := min(low+1, len(d)-1)
	return d[low] + time.Duration((at-float64(low))*float64(d[high]-d[low]))
}

// spread is the median with the quartiles.
func spread(d []time.Duration) string {
	return fmt.Sprintf("%s ms (%s to %s)", ms(median(d)), ms(quantile(d, 0.25)), ms(quantile(d, 0.75)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

func rest() { <-time.After(settle) }
