package hostinfo_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/hostinfo"
	"longshore/internal/placement"
)

func newCollector(t *testing.T, l *ledger, a *agents) *hostinfo.Collector {
	t.Helper()
	c, err := hostinfo.NewCollector(hostinfo.CollectorConfig{Cluster: "c1", Logger: slog.New(slog.DiscardHandler)}, l, a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hall is a collector that runs in the bubble of t.
type hall struct {
	t *testing.T
	c *hostinfo.Collector
	l *ledger
}

// collect runs a collector in a bubble.
func collect(t *testing.T, l func() *ledger, a *agents, test func(s hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ledger := l()
		c := newCollector(t, ledger, a)
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		test(hall{t, c, ledger})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func three() *ledger { return newLedger("n3", "n1", "n2") }

func full(node placement.NodeID, link, seq uint64, promised int64) placement.Report {
	return placement.Report{
		V: placement.Format, Cluster: "c1", Node: node, Link: link, Seq: seq, Full: true,
		Daemons: []placement.DaemonListing{{Owner: "alice", OK: true}},
		Copies:  []placement.Copy{copyOf(web1, placement.CopyRunning)},
		Room:    placement.Room{Capacity: placement.Resources{CPU: 4000}, Promised: placement.Resources{CPU: promised}, Copies: 1},
	}
}

func status(t *testing.T, c *hostinfo.Collector, name placement.NodeID) placement.NodeStatus {
	t.Helper()
	nodes, err := c.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Node == name {
			return n
		}
	}
	t.Fatalf("node %s is not among %v", name, nodes)
	return placement.NodeStatus{}
}

func TestNodesMergeRecordsAndWhatIsHeard(t *testing.T) {
	collect(t, three, &agents{}, func(s hall) {
		t, c, l := s.t, s.c, s.l
		nodes, err := c.Nodes(t.Context())
		if err != nil || len(nodes) != 3 || nodes[0].Node != "n1" || nodes[2].Node != "n3" {
			t.Fatalf("nodes %+v, %v", nodes, err)
		}
		if n := nodes[0]; n.State != placement.NodeSuspect || n.Agent || n.Hostinfo {
			t.Errorf("a node not heard yet is %+v", n)
		}

		l.answer = func(context.Context, placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
			return placement.ReportAnswer{Unknown: []placement.Unknown{{ID: web1, Why: "no file"}}}, nil, nil
		}
		if _, err := c.Link(t.Context(), placement.Hello{V: placement.Format, Cluster: "c1", Node: "n1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Report(t.Context(), full("n1", 1, 1, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := c.Beat(placement.Beat{Cluster: "c1", Node: "n1", Role: placement.RoleAgent, Alarm: "its certificate ends"}); err != nil {
			t.Fatal(err)
		}
		if got := status(t, c, "n1").Alarms; len(got) != 1 || got[0] != "its certificate ends" {
			t.Errorf("alarms %q", got)
		}
		if err := c.Beat(placement.Beat{Cluster: "c1", Node: "n1", Role: placement.RoleAgent}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want := placement.NodeStatus{
			Node: "n1", State: placement.NodeReady, Address: "addr-n1", Labels: map[string]string{"arch": "amd64", "zone": "z-n1"},
			Room:  placement.Room{Capacity: placement.Resources{CPU: 4000}, Promised: placement.Resources{CPU: 1000}, Copies: 1},
			Agent: true, Hostinfo: true, Silent: 2000, Unknown: []string{string(web1) + ": no file"},
		}
		if diff := cmp.Diff(want, status(t, c, "n1")); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		if got := c.Copies("n1"); len(got) != 1 || got[0].ID != web1 {
			t.Errorf("copies %v", got)
		}

		l.mu.Lock()
		l.records[1].Draining = true // n1
		l.mu.Unlock()
		if s := status(t, c, "n1"); s.State != placement.NodeDraining {
			t.Errorf("draining node is %s", s.State)
		}
		time.Sleep(14 * time.Second)
		if s := status(t, c, "n1"); s.State != placement.NodeSuspect || s.Agent || s.Hostinfo || !slices.Contains(s.Alarms, "not heard for 16s") {
			t.Errorf("after 16 s without a word: %+v", s)
		}
	})
}

func TestDigestIsExpandedForTheLedger(t *testing.T) {
	collect(t, three, &agents{}, func(s hall) {
		t, c, l := s.t, s.c, s.l
		same := full("n1", 1, 2, 0)
		same.Daemons, same.Copies, same.Same = nil, nil, "unknown"
		if a, err := c.Report(t.Context(), same); err != nil || !a.Resend || len(l.reports) != 0 {
			t.Fatalf("a digest not known was answered %+v, %v, and %d reports reached the ledger", a, err, len(l.reports))
		}
	})
}

func TestStopOrdersGoToTheAgent(t *testing.T) {
	a := &agents{}
	collect(t, three, a, func(s hall) {
		t, c, l := s.t, s.c, s.l
		hang := func(ctx context.Context, node placement.NodeID, _ placement.StopOrder) error {
			if node == "n1" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		a.stop = hang
		l.answer = func(_ context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
			return placement.ReportAnswer{}, []placement.StopOrder{{ID: "x"}, {ID: "y"}}, nil
		}
		before := time.Now()
		for i, n := range []placement.NodeID{"n1", "n2", "n1"} {
			if _, err := c.Report(t.Context(), full(n, 1, uint64(i+1), 0)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		got := a.orders()
		slices.Sort(got)
		if !slices.Equal(got, []string{"n1 x", "n2 x", "n2 y"}) || time.Since(before) != 0 {
			t.Errorf("orders %v after %v; a hung agent may hold up neither the answer nor another node", got, time.Since(before))
		}
		time.Sleep(5 * time.Second)
		if _, err := c.Report(t.Context(), full("n1", 1, 4, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if n := len(slices.DeleteFunc(a.orders(), func(s string) bool { return s != "n1 x" })); n != 3 {
			t.Errorf("the order was tried %d times, want again with the next listing", n)
		}
	})
}

func TestReportsOfNodesDoNotWaitForOneAnother(t *testing.T) {
	collect(t, three, &agents{}, func(s hall) {
		t, c, l := s.t, s.c, s.l
		release := make(chan struct{})
		l.answer = func(_ context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
			if r.Node == "n1" {
				<-release
			}
			return placement.ReportAnswer{}, nil, nil
		}
		done := make(chan struct{})
		go func() { defer close(done); _, _ = c.Report(t.Context(), full("n1", 1, 1, 0)) }()
		synctest.Wait()
		if _, err := c.Report(t.Context(), full("n2", 1, 1, 0)); err != nil {
			t.Fatal(err)
		}
		if s := status(t, c, "n2"); s.Room.Copies != 1 {
			t.Errorf("n2 is %+v", s)
		}
		close(release)
		<-done
	})
}

func TestMoreRoomIsTold(t *testing.T) {
	collect(t, three, &agents{}, func(s hall) {
		t, c, l := s.t, s.c, s.l
		told := func(r placement.Report) bool {
			t.Helper()
			before := len(l.room)
			if _, err := c.Report(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			return len(l.room) > before
		}
		partial := full("n1", 1, 3, 0)
		partial.Full = false
		for _, c := range []struct {
			what string
			r    placement.Report
			want bool
		}{
			{"the first listing", full("n1", 1, 1, 1000), true},
			{"less room", full("n1", 1, 2, 2000), false},
			{"an event", partial, false},
			{"the same room", full("n1", 1, 4, 2000), false},
			{"an older report", full("n1", 1, 3, 0), false},
			{"more room", full("n1", 1, 5, 1500), true},
			{"a full node", full("n2", 1, 1, 4000), false},
		} {
			if got := told(c.r); got != c.want {
				t.Errorf("%s: more room is told %v, want %v", c.what, got, c.want)
			}
		}
		time.Sleep(20 * time.Second)
		if !told(full("n1", 2, 1, 3000)) {
			t.Error("a node that was not heard for 20 s is back, and its room is not told")
		}
	})
}

func TestTwoHostinfodsOfOneNode(t *testing.T) {
	collect(t, three, &agents{}, func(s hall) {
		t, c := s.t, s.c
		for range 2 {
			if _, err := c.Link(t.Context(), placement.Hello{V: placement.Format, Node: "n1"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Report(t.Context(), full("n1", 1, 9, 0)); err != nil {
			t.Fatal(err)
		}
		if s := status(t, c, "n1"); s.State != placement.NodeReady {
			t.Errorf("a report that was on its way when the new link was opened: %+v", s)
		}
		time.Sleep(5 * time.Second)
		if _, err := c.Report(t.Context(), full("n1", 1, 10, 0)); err != nil {
			t.Fatal(err)
		}
		if s := status(t, c, "n1"); s.State != placement.NodeSuspect || !strings.Contains(strings.Join(s.Alarms, ""), "two hostinfods") {
			t.Errorf("two that speak: %+v", s)
		}
	})
}

func TestCollectorRefuses(t *testing.T) {
	collect(t, three, &agents{}, func(s hall) {
		t, c, l := s.t, s.c, s.l
		kind := func(err error) string {
			if e, ok := errors.AsType[*placement.Error](err); ok {
				return e.Kind
			}
			return ""
		}
		_, link := c.Link(t.Context(), placement.Hello{V: placement.Format, Node: "n9"})
		_, old := c.Link(t.Context(), placement.Hello{V: placement.Format + 1, Node: "n1"})
		r := full("n1", 1, 1, 0)
		r.Cluster = "c2"
		_, report := c.Report(t.Context(), r)
		got := []string{
			kind(link), kind(old), kind(report),
			kind(c.Beat(placement.Beat{Cluster: "c2", Node: "n1", Role: placement.RoleAgent})),
			kind(c.Beat(placement.Beat{Cluster: "c1", Node: "../n1", Role: placement.RoleAgent})),
			kind(c.Beat(placement.Beat{Cluster: "c1", Node: "n1", Role: "cook"})),
		}
		want := []string{placement.KindRegister, placement.KindInvalid, placement.KindRefused, placement.KindRefused, placement.KindInvalid, placement.KindInvalid}
		if diff := cmp.Diff(want, got); diff != "" || len(l.reports) != 0 {
			t.Errorf("kinds (-want +got):\n%s, %d reports taken", diff, len(l.reports))
		}
	})
}
