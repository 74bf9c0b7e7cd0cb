package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

const (
	web1 placement.Replica = "alice/shop/web/1"
	web2 placement.Replica = "alice/shop/web/2"
	job1 placement.Replica = "alice/shop/job/1"

	one, two = placement.Epoch("00000001000000000001"), placement.Epoch("00000001000000000002")
)

var bounds = cluster.Bounds{Double: 25 * time.Second, Missing: 60 * time.Second}

// stage is a checker and the seconds that have passed on it.
type stage struct {
	*cluster.Checker
	zero time.Time
}

func at(zero time.Time, second float64) time.Time {
	return zero.Add(time.Duration(second * float64(time.Second)))
}

// look is one look, in which these run; "n1" means that n1 is blind.
func (s stage) look(second float64, seen ...any) cluster.Observation {
	o := cluster.Observation{At: at(s.zero, second), Blind: map[string]string{}}
	for _, x := range seen {
		switch x := x.(type) {
		case string:
			o.Blind[x] = "connection refused"
		case cluster.Hidden:
			o.Hidden = append(o.Hidden, x)
		case cluster.Sighting:
			o.Seen = append(o.Seen, x)
		}
	}
	return o
}

// during looks each second from one to another, both included.
func (s stage) during(from, to int, seen ...any) {
	for second := from; second <= to; second++ {
		s.Observe(s.look(float64(second), seen...))
	}
}

func copyOf(r placement.Replica, node string, e placement.Epoch) cluster.Sighting {
	return cluster.Sighting{
		Node: node, Container: node + string(r) + string(e), Running: true,
		ID: r.Placement(placement.Life(one)), Epoch: e, Digest: "sha256:wanted",
	}
}

func stopped(s cluster.Sighting) cluster.Sighting { s.Running = false; return s }

// TestWatching: what a checker says, or does not say, of looks at the daemons.
func TestWatching(t *testing.T) {
	for name, c := range map[string]struct {
		play func(s stage)
		kind string // of the one violation; "": none
		want string // in it
	}{
		"a healthy cluster": {func(s stage) {
			s.Want(s.zero, web1, web2, job1)
			s.WantApart("web", web1, web2)
			s.during(0, 200, copyOf(web1, "n1", one), copyOf(web2, "n2", one), copyOf(job1, "n1", one))
		}, "", ""},
		"a copy that moves at once": {func(s stage) {
			s.Want(s.zero, web1)
			s.during(0, 9, copyOf(web1, "n1", one))
			s.during(10, 99, stopped(copyOf(web1, "n1", one)), copyOf(web1, "n2", two))
		}, "", ""},

		"two copies in one epoch, once": {func(s stage) {
			s.during(0, 0, copyOf(web1, "n1", one), copyOf(web1, "n2", one))
		}, cluster.Double, "one epoch"},
		"two in one epoch, one not started": {func(s stage) {
			s.during(0, 99, copyOf(web1, "n1", one), stopped(copyOf(web1, "n2", one)))
		}, "", ""},

		"two copies up to the bound": {func(s stage) {
			s.during(0, 25, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
			s.during(26, 50, copyOf(web1, "n2", two))
			s.during(51, 76, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
		}, "", ""},
		"two copies beyond it": {func(s stage) {
			s.during(0, 26, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
		}, cluster.Double, "two copies of alice/shop/web/1 for more than 25s: on n1 and n2"},
		"two lives beyond it": {func(s stage) {
			later := copyOf(web1, "n1", two)
			later.ID = web1.Placement(placement.Life(two))
			s.during(0, 26, copyOf(web1, "n1", one), later)
		}, cluster.Double, "two copies"},
		"two copies, one beyond reach": {func(s stage) {
			s.Cut("n1", true)
			s.during(0, 99, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
			s.Cut("n1", false)
			s.during(100, 124, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
		}, "", ""},
		"two copies, long since in reach again": {func(s stage) {
			s.Cut("n1", true)
			s.during(0, 99, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
			s.Cut("n1", false)
			s.during(100, 125, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
		}, cluster.Double, "two copies"},
		"two copies beside somebody's blind daemon": {func(s stage) {
			s.during(0, 26, copyOf(web1, "n1", one), copyOf(web1, "n2", two), "n1")
		}, cluster.Double, "two copies"},

		"two of one token up to the bound": {func(s stage) {
			s.WantApart("web", web1, web2)
			s.during(0, 25, copyOf(web1, "n1", one), copyOf(web2, "n1", one))
			s.during(26, 99, copyOf(web1, "n1", one), copyOf(web2, "n2", one))
		}, "", ""},
		"two of one token beyond it": {func(s stage) {
			s.WantApart("web", web1, web2)
			s.during(0, 26, copyOf(web1, "n1", one), copyOf(web2, "n1", one))
		}, cluster.Double, "ha_token web on n1"},
		"two owners' replicas of one token": {func(s stage) {
			s.WantApart("web", web1, "bob/shop/web/1")
			s.during(0, 99, copyOf(web1, "n1", one), copyOf("bob/shop/web/1", "n1", one))
		}, "", ""},
		"two lives of one replica of a token": {func(s stage) {
			s.WantApart("web", web1)
			s.during(0, 26, copyOf(web1, "n1", one), copyOf(web1, "n1", two))
		}, cluster.Double, "two copies"},
		"two of one token, one stopped": {func(s stage) {
			s.WantApart("web", web1, web2)
			s.during(0, 99, copyOf(web1, "n1", one), stopped(copyOf(web2, "n1", one)))
		}, "", ""},

		"removed and soon gone": {func(s stage) {
			s.Want(s.zero, web1)
			s.Unwant(s.zero, web1)
			s.during(0, 25, copyOf(web1, "n1", one))
			s.during(26, 99, stopped(copyOf(web1, "n1", one)))
		}, "", ""},
		"removed and still there": {func(s stage) {
			s.Unwant(s.zero, web1)
			s.during(0, 26, copyOf(web1, "n1", one))
		}, cluster.Zombie, "alice/shop/web/1 was removed, and runs 25s later on n1"},
		"removed, beyond reach": {func(s stage) {
			s.Unwant(s.zero, web1)
			s.Cut("n1", true)
			s.during(0, 99, copyOf(web1, "n1", one))
			s.Cut("n1", false)
			s.during(100, 124, copyOf(web1, "n1", one))
		}, "", ""},
		"removed and submitted again": {func(s stage) {
			s.Unwant(s.zero, web1)
			s.Want(at(s.zero, 1), web1)
			s.during(2, 99, copyOf(web1, "n1", one))
		}, "", ""},

		"hidden up to the bound": {func(s stage) {
			s.during(0, 25, cluster.Hidden{Node: "n1", Container: "c1"})
			s.during(26, 26)
			s.during(27, 52, cluster.Hidden{Node: "n1", Container: "c1"}, cluster.Hidden{Node: "n1", Container: "c2"})
			s.during(53, 77, cluster.Hidden{Node: "n2", Container: "c1"}, cluster.Hidden{Node: "n1", Container: "c3"})
		}, "", ""},
		"hidden beyond it": {func(s stage) {
			s.during(0, 26, cluster.Hidden{Node: "n1", Container: "c1"})
		}, cluster.Zombie, "container c1 lives on n1, and its daemon does not show it for more than 25s"},

		"wanted and not there for a while": {func(s stage) {
			s.Want(s.zero, web1)
			s.during(0, 60)
			s.during(61, 62, copyOf(web1, "n1", one))
			s.during(63, 123, stopped(copyOf(web1, "n1", one)))
		}, "", ""},
		"wanted and never there": {func(s stage) {
			s.Want(s.zero, web1)
			s.during(0, 61, copyOf(web2, "n1", one))
		}, cluster.Lost, "alice/shop/web/1 is wanted and was not seen"},
		"wanted and gone": {func(s stage) {
			s.Want(s.zero, web1)
			s.during(0, 100, copyOf(web1, "n1", one))
			s.during(101, 162)
		}, cluster.Lost, "not seen running for more than 1m0s"},
		"gone while somebody is blind": {func(s stage) {
			s.Want(s.zero, web1)
			s.during(0, 99, "n1")
			s.during(100, 100, copyOf(web1, "n1", one))
		}, "", ""},
		"gone before and after somebody was blind": {func(s stage) {
			s.Want(s.zero, web1)
			s.during(0, 60, "n1")
			s.during(61, 61)
		}, cluster.Lost, "not seen"},
		"nobody knows whether it is wanted": {func(s stage) {
			s.Want(s.zero, web1)
			s.Unwant(s.zero, web2)
			s.Forget(web1, web2)
			s.during(0, 99, copyOf(web2, "n1", one))
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := stage{cluster.NewChecker(bounds), time.Now()}
			c.play(s)
			expect(t, s.Found(), c.kind, c.want)
		})
	}
}

// expect one violation of the kind with the text in it; none if kind is "".
func expect(t *testing.T, found []cluster.Violation, kind, want string) {
	t.Helper()
	switch {
	case kind == "" && len(found) > 0:
		t.Errorf("reports %q", found)
	case kind == "":
	case len(found) != 1 || found[0].Kind != kind || !strings.Contains(found[0].Text, want):
		t.Errorf("reports %q, not one %s with %q", found, kind, want)
	}
}

// TestAtRest: what a checker says of a cluster that has come to rest.
func TestAtRest(t *testing.T) {
	good := placement.Status{Replica: web1, ID: web1.Placement(placement.Life(one)), Epoch: one, State: placement.Running, Wanted: true, Node: "n1"}
	with := func(change func(s *placement.Status)) []placement.Status {
		s := good
		change(&s)
		return []placement.Status{s}
	}
	runs := copyOf(web1, "n1", one)
	for name, c := range map[string]struct {
		seen   []any
		ledger []placement.Status
		kind   string
		want   string
	}{
		"all is well":        {[]any{runs, stopped(copyOf(web2, "n2", one))}, []placement.Status{good}, "", ""},
		"a blind node":       {[]any{runs, "n2"}, []placement.Status{good}, cluster.Unseen, "node n2 cannot be seen at the end: connection refused"},
		"no copy":            {[]any{stopped(runs)}, []placement.Status{good}, cluster.Lost, "no copy of alice/shop/web/1"},
		"two copies":         {[]any{runs, copyOf(web1, "n2", two)}, []placement.Status{good}, cluster.Double, "2 copies of alice/shop/web/1"},
		"an unwanted one":    {[]any{runs, copyOf(job1, "n3", one)}, []placement.Status{good}, cluster.Zombie, "nobody wants alice/shop/job/1"},
		"a hidden one":       {[]any{runs, cluster.Hidden{Node: "n3", Container: "c3"}}, []placement.Status{good}, cluster.Zombie, "container c3 lives on n3"},
		"dropped":            {[]any{runs}, nil, cluster.Lost, "the ledger has dropped alice/shop/web/1"},
		"replaced by nobody": {[]any{runs}, with(func(s *placement.Status) { s.Wanted = false }), cluster.Lost, "dropped"},
		"waiting by ledger":  {[]any{runs}, with(func(s *placement.Status) { s.State = placement.Pending }), cluster.Lost, "is waiting"},
		"on another node":    {[]any{runs}, with(func(s *placement.Status) { s.Node = "n2" }), cluster.Stale, "runs on n2"},
		"another life":       {[]any{runs}, with(func(s *placement.Status) { s.ID = web1.Placement(placement.Life(two)) }), cluster.Stale, "what runs is alice/shop/web/1." + string(one)},
		"another epoch":      {[]any{runs}, with(func(s *placement.Status) { s.Epoch = two }), cluster.Stale, "the ledger says"},
		"an old request":     {[]any{func() cluster.Sighting { s := runs; s.Digest = "sha256:before"; return s }()}, []placement.Status{good}, cluster.Stale, "runs as sha256:before"},
	} {
		t.Run(name, func(t *testing.T) {
			s := stage{cluster.NewChecker(bounds), time.Now()}
			s.Want(s.zero, web1)
			s.WantRequest("sha256:wanted", web1)
			o := s.look(0, c.seen...)
			expect(t, s.AtRest(o, c.ledger), c.kind, c.want)
			if len(s.Found()) > 0 {
				t.Errorf("asking what is wrong records %q", s.Found())
			}
			s.Final(o, c.ledger)
			expect(t, s.Found(), c.kind, c.want)
		})
	}
}

// TestFigures: a checker tells how long the longest double was, how often it
// looked, how long it did not look, and says a thing once.
func TestFigures(t *testing.T) {
	s := stage{cluster.NewChecker(bounds), time.Now()}
	double := []any{copyOf(web1, "n1", one), copyOf(web1, "n2", two)}
	s.during(0, 7, double...)
	s.during(8, 9, copyOf(web1, "n2", two))
	s.during(13, 53, double...)
	if longest := s.Longest(); longest != 40*time.Second {
		t.Errorf("the longest double is %v, not 40s", longest)
	}
	if n, gap := s.Looks(); n != 51 || gap != 4*time.Second {
		t.Errorf("%d looks, %v apart, not 51 and 4s", n, gap)
	}
	if got := fmt.Sprint(s.Count(cluster.Double), s.Count(cluster.Lost), len(s.Violations())); got != "1 0 1" {
		t.Errorf("doubles, losses and all: %s, not 1 0 1", got)
	}
}

// TestMoved: a checker tells which lives went on in another epoch.
func TestMoved(t *testing.T) {
	s := stage{cluster.NewChecker(bounds), time.Now()}
	nextLife := copyOf(web2, "n1", two)
	nextLife.ID = web2.Placement(placement.Life(two))
	s.during(0, 1, copyOf(web1, "n1", one), copyOf(web2, "n1", one), copyOf(job1, "n3", one))
	s.during(2, 2, copyOf(job1, "n3", one))
	s.during(3, 4, copyOf(web1, "n2", two), nextLife, copyOf(job1, "n3", one))
	s.during(5, 6, copyOf(web1, "n1", one), copyOf(web1, "n2", two))
	want := []string{at(s.zero, 3).UTC().Format(time.TimeOnly) + " " + string(copyOf(web1, "n1", one).ID) + " from n1 " + string(one) + " to n2 " + string(two)}
	if got := s.Moved(); !slices.Equal(got, want) {
		t.Errorf("moved: %q, not %q", got, want)
	}
}
