package hostinfo_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/hostinfo"
	"longshore/internal/placement"
)

const sec = time.Second

// well is a node that is heard.
func well(name string) hostinfo.Heard {
	return hostinfo.Heard{
		NodeRecord: placement.NodeRecord{Node: placement.NodeID(name), Address: "10.0.0.1"},
		Met:        true, Agent: sec, Hostinfo: sec, Listing: 5 * sec,
	}
}

// mute is one that has not been heard for d, and whose host does not answer.
func mute(name string, d time.Duration) hostinfo.Heard {
	n := well(name)
	n.Agent, n.Hostinfo, n.Listing, n.Host = d, d, d, hostinfo.HostMute
	return n
}

func with(n hostinfo.Heard, f func(n *hostinfo.Heard)) hostinfo.Heard {
	f(&n)
	return n
}

// cluster is n nodes that are heard, behind those given.
func cluster(n int, others ...hostinfo.Heard) hostinfo.Snapshot {
	s := hostinfo.Snapshot{Void: time.Hour, LastBegun: time.Hour, Nodes: others}
	for i := range n {
		s.Nodes = append(s.Nodes, well(fmt.Sprintf("well%d", i)))
	}
	return s
}

func defaults() hostinfo.Times { return hostinfo.Times{}.WithDefaults() }

func TestStagesOfOneNode(t *testing.T) {
	type want struct {
		state placement.NodeState
		alarm string // part of one; "" if there is none
		probe bool
		lose  *hostinfo.Loss
	}
	lose := func(d time.Duration, answers, final bool) *hostinfo.Loss {
		return &hostinfo.Loss{Silence: placement.Silence{Node: "n1", For: placement.Millis(d.Milliseconds()), HostAnswers: answers, Max: 10}, Begins: true, Final: final}
	}
	answers := func(n *hostinfo.Heard) { n.Host = hostinfo.HostAnswers }
	unknown := func(n *hostinfo.Heard) { n.Host = hostinfo.HostUnknown }
	for name, c := range map[string]struct {
		node hostinfo.Heard
		want want
	}{
		"heard":                {well("n1"), want{state: placement.NodeReady}},
		"draining":             {with(well("n1"), func(n *hostinfo.Heard) { n.Draining = true }), want{state: placement.NodeDraining}},
		"never heard":          {with(mute("n1", 2*sec), func(n *hostinfo.Heard) { n.Met = false }), want{state: placement.NodeSuspect}},
		"4 s":                  {mute("n1", 4*sec), want{state: placement.NodeReady}},
		"5 s: short lost_afte": {mute("n1", 5*sec), want{state: placement.NodeReady, probe: true, lose: lose(5*sec, false, false)}},
		"14 s":                 {mute("n1", 14*sec), want{state: placement.NodeReady, probe: true, lose: lose(14*sec, false, false)}},
		"15 s: suspect":        {mute("n1", 15*sec), want{state: placement.NodeSuspect, alarm: "not heard for 15s", probe: true, lose: lose(15*sec, false, false)}},
		"15 s, draining":       {with(mute("n1", 15*sec), func(n *hostinfo.Heard) { n.Draining = true }), want{state: placement.NodeSuspect, alarm: "not heard", probe: true, lose: lose(15*sec, false, false)}},
		"30 s, not yet asked":  {with(mute("n1", 30*sec), unknown), want{state: placement.NodeSilent, alarm: "not heard", probe: true}},
		"30 s, no address": {
			with(mute("n1", 30*sec), func(n *hostinfo.Heard) { n.Address, n.Host = "", hostinfo.HostUnknown }),
			want{state: placement.NodeSilent, alarm: "not heard", lose: lose(30*sec, false, true)},
		},
		"30 s, host mute":     {mute("n1", 30*sec), want{state: placement.NodeSilent, alarm: "not heard for 30s", probe: true, lose: lose(30*sec, false, true)}},
		"30 s, host answers":  {with(mute("n1", 30*sec), answers), want{state: placement.NodeSilent, alarm: "but the host answers", probe: true}},
		"299 s, host answers": {with(mute("n1", 299*sec), answers), want{state: placement.NodeSilent, alarm: "but the host answers", probe: true}},
		"300 s, host answers": {with(mute("n1", 300*sec), answers), want{state: placement.NodeSilent, alarm: "but the host answers", probe: true, lose: lose(300*sec, true, true)}},
		"lost": {
			with(mute("n1", 60*sec), func(n *hostinfo.Heard) { n.Lost, n.LostFor = true, 20*sec }),
			want{state: placement.NodeLost, alarm: "not heard", lose: lose(60*sec, false, true)},
		},
		"lost and heard again": {with(well("n1"), func(n *hostinfo.Heard) { n.Lost = true }), want{state: placement.NodeReady}},
		"lost and half back": {
			with(well("n1"), func(n *hostinfo.Heard) { n.Lost, n.Hostinfo, n.Listing = true, 90*sec, 90*sec }),
			want{state: placement.NodeLost, alarm: "hostinfod not heard"},
		},
		"given up": {with(mute("n1", 400*sec), func(n *hostinfo.Heard) { n.GivenUp = true }), want{state: placement.NodeGivenUp}},

		"agentd missing 29 s":    {with(well("n1"), func(n *hostinfo.Heard) { n.Agent = 29 * sec }), want{state: placement.NodeReady}},
		"agentd missing 30 s":    {with(well("n1"), func(n *hostinfo.Heard) { n.Agent = 30 * sec }), want{state: placement.NodeSuspect, alarm: "agentd not heard for 30s"}},
		"agentd missing 299 s":   {with(well("n1"), func(n *hostinfo.Heard) { n.Agent = 299 * sec }), want{state: placement.NodeSuspect, alarm: "agentd not heard"}},
		"agentd missing 300 s":   {with(well("n1"), func(n *hostinfo.Heard) { n.Agent = 300 * sec }), want{state: placement.NodeSuspect, alarm: "agentd not heard", lose: lose(300*sec, true, true)}},
		"hostinfod missing 30 s": {with(well("n1"), func(n *hostinfo.Heard) { n.Hostinfo, n.Listing = 30*sec, 34*sec }), want{state: placement.NodeSuspect, alarm: "hostinfod not heard"}},
		"hostinfod missing 300 s": {
			with(well("n1"), func(n *hostinfo.Heard) { n.Hostinfo, n.Listing = 300*sec, 304*sec }),
			want{state: placement.NodeSuspect, alarm: "hostinfod not heard", lose: lose(300*sec, true, true)},
		},
		"hostinfod cannot list": {with(well("n1"), func(n *hostinfo.Heard) { n.Listing = 35 * sec }), want{state: placement.NodeSuspect, alarm: "no complete listing"}},
		"one gone long, the other now, host answers": {
			with(mute("n1", 6*sec), func(n *hostinfo.Heard) { n.Agent, n.Host = 310*sec, hostinfo.HostAnswers }),
			want{state: placement.NodeSuspect, alarm: "agentd not heard", probe: true, lose: lose(310*sec, true, true)},
		},
		"two hostinfods": {with(well("n1"), func(n *hostinfo.Heard) { n.Doubled = true }), want{state: placement.NodeSuspect, alarm: "two hostinfods"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := hostinfo.Decide(cluster(2, c.node), defaults())[0]
			if v.Node != "n1" || v.State != c.want.state || v.Probe != c.want.probe || v.Held {
				t.Errorf("state %s probe %v held %v, want %s %v", v.State, v.Probe, v.Held, c.want.state, c.want.probe)
			}
			if got := strings.Join(v.Alarms, "\n"); (got == "") != (c.want.alarm == "") || !strings.Contains(got, c.want.alarm) {
				t.Errorf("alarms %q, want %q", got, c.want.alarm)
			}
			var losses []hostinfo.Loss
			if c.want.lose != nil {
				losses = append(losses, *c.want.lose)
			}
			if diff := cmp.Diff(losses, v.Losses); diff != "" {
				t.Errorf("losses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSilencesBeginAgain(t *testing.T) {
	s := cluster(2, mute("n1", 400*sec))
	s.Void = 29 * sec
	v := hostinfo.Decide(s, defaults())[0]
	if v.State != placement.NodeSilent || len(v.Losses) != 1 || v.Losses[0].For != 29_000 || v.Losses[0].Final {
		t.Errorf("29 s after all silences began again: %+v", v)
	}
	s.Void = 2 * sec
	if v := hostinfo.Decide(s, defaults())[0]; v.State != placement.NodeSilent || len(v.Losses) != 0 {
		t.Errorf("2 s after: %+v; it stays silent to people, and loses nothing", v)
	}
	s.Void, s.Trouble = time.Hour, "no node at all heard for 6s"
	for _, v := range hostinfo.Decide(s, defaults()) {
		if len(v.Losses) != 0 || !strings.Contains(strings.Join(v.Alarms, ""), "no node at all heard for 6s") {
			t.Errorf("while suspecting ourselves: %+v", v)
		}
	}
}

func TestDaemonSilence(t *testing.T) {
	bad := func(age time.Duration) hostinfo.Heard {
		return with(well("n1"), func(n *hostinfo.Heard) {
			n.Daemons = []hostinfo.MuteDaemon{{Owner: "alice", Age: age, Err: "connection refused"}}
		})
	}
	for name, c := range map[string]struct {
		node   hostinfo.Heard
		losses int
		final  bool
		alarm  string
	}{
		"4 s":               {bad(4 * sec), 0, false, ""},
		"5 s":               {bad(5 * sec), 1, false, ""},
		"15 s":              {bad(15 * sec), 1, false, "dockerd of alice not listed for 15s: connection refused"},
		"30 s":              {bad(30 * sec), 1, true, "dockerd of alice"},
		"hostinfod is mute": {with(bad(40*sec), func(n *hostinfo.Heard) { n.Hostinfo = 6 * sec }), 0, false, "dockerd of alice"},
	} {
		t.Run(name, func(t *testing.T) {
			v := hostinfo.Decide(cluster(2, c.node), defaults())[0]
			if v.State != placement.NodeReady || len(v.Losses) != c.losses {
				t.Fatalf("state %s, losses %+v", v.State, v.Losses)
			}
			if c.losses == 1 && (v.Losses[0].Owner != "alice" || v.Losses[0].Final != c.final || v.Losses[0].HostAnswers) {
				t.Errorf("loss %+v", v.Losses[0])
			}
			if got := strings.Join(v.Alarms, "\n"); (got == "") != (c.alarm == "") || !strings.Contains(got, c.alarm) {
				t.Errorf("alarms %q, want %q", got, c.alarm)
			}
		})
	}
}

func TestOneOwnersDaemonsMuteEverywhereAreHeld(t *testing.T) {
	s := cluster(3)
	for i := range s.Nodes {
		s.Nodes[i].Daemons = []hostinfo.MuteDaemon{{Owner: "alice", Age: 40 * sec}}
	}
	s.Nodes[0].Daemons = append(s.Nodes[0].Daemons, hostinfo.MuteDaemon{Owner: "bob", Age: 40 * sec})
	var owners []string
	for _, v := range hostinfo.Decide(s, defaults()) {
		for _, l := range v.Losses {
			owners = append(owners, l.Owner)
		}
	}
	if diff := cmp.Diff([]string{"bob"}, owners); diff != "" {
		t.Errorf("given up (-want +got):\n%s", diff)
	}
}

// silents is n mute nodes, in a zone if one is named.
func silents(n int, d time.Duration, zone string) []hostinfo.Heard {
	var nodes []hostinfo.Heard
	for i := range n {
		nodes = append(nodes, with(mute(fmt.Sprintf("%smute%d", zone, i), d), func(n *hostinfo.Heard) {
			if zone != "" {
				n.Labels = map[string]string{"zone": zone}
			}
		}))
	}
	return nodes
}

func TestMassGuard(t *testing.T) {
	lostLong := func(n *hostinfo.Heard) { n.Lost, n.LostFor = true, 61*sec }
	givenUp := func(n *hostinfo.Heard) { n.GivenUp = true }
	all := func(nodes []hostinfo.Heard, f func(n *hostinfo.Heard)) []hostinfo.Heard {
		for i := range nodes {
			f(&nodes[i])
		}
		return nodes
	}
	for name, c := range map[string]struct {
		mute []hostinfo.Heard
		well int
		held int // of the mute
		lose int
	}{
		"1 of 3":                                   {silents(1, 40*sec, ""), 2, 0, 1},
		"2 of 3":                                   {silents(2, 40*sec, ""), 1, 0, 2},
		"2 of 2":                                   {silents(2, 40*sec, ""), 0, 0, 2}, // Doubt's to stop
		"3 of 4":                                   {silents(3, 40*sec, ""), 1, 3, 0},
		"3 of 10":                                  {silents(3, 40*sec, ""), 7, 3, 0},
		"3 of 14":                                  {silents(3, 40*sec, ""), 11, 3, 0},
		"3 of 15":                                  {silents(3, 40*sec, ""), 12, 0, 3},
		"20 of 100":                                {silents(20, 40*sec, ""), 80, 0, 20},
		"21 of 100":                                {silents(21, 40*sec, ""), 79, 21, 0},
		"3 of 10, only just":                       {silents(3, 5*sec, ""), 7, 3, 0},
		"3 of 10, given up":                        {all(silents(3, 40*sec, ""), givenUp), 7, 0, 0},
		"3 of 10, one of them given up":            {append(silents(2, 40*sec, ""), all(silents(1, 40*sec, "z"), givenUp)...), 7, 0, 2},
		"2 of 10 beside 3 lost long ago":           {append(silents(2, 40*sec, ""), all(silents(3, 400*sec, "z"), lostLong)...), 5, 0, 5},
		"2 of 10 beside 1 lost just now":           {append(silents(2, 40*sec, ""), with(mute("z", 80*sec), func(n *hostinfo.Heard) { n.Lost, n.LostFor = true, 50*sec })), 7, 3, 0},
		"3 of 10 without agentd":                   {all(silents(3, 310*sec, ""), func(n *hostinfo.Heard) { n.Hostinfo, n.Listing = sec, sec }), 7, 3, 0},
		"a zone of 4, of 14":                       {silents(4, 299*sec, "z"), 10, 4, 0},
		"a zone of 4, of 14, 5 min":                {silents(4, 300*sec, "z"), 10, 0, 4},
		"a zone of 4 and 2 of 10 others, 5 min":    {append(silents(4, 300*sec, "z"), silents(2, 40*sec, "")...), 8, 0, 6},
		"a zone of 4 and 3 of 10 others, 5 min":    {append(silents(4, 300*sec, "z"), silents(3, 40*sec, "")...), 7, 7, 0},
		"a zone but for one node, 5 min":           {append(silents(4, 300*sec, "z"), with(well("zwell"), func(n *hostinfo.Heard) { n.Labels = map[string]string{"zone": "z"} })), 10, 4, 0},
		"everything is one zone, 5 min":            {silents(4, 300*sec, "z"), 0, 4, 0},
		"two zones of 4, of 16, 5 min":             {append(silents(4, 300*sec, "a"), silents(4, 300*sec, "b")...), 8, 8, 0},
		"a rack of 3, of 13, 5 min":                {all(silents(3, 300*sec, ""), func(n *hostinfo.Heard) { n.Labels = map[string]string{"rack": "r1"} }), 10, 0, 3},
		"3 of 10, the zone by the nodes' own word": {all(silents(3, 300*sec, ""), func(n *hostinfo.Heard) { n.Reported = map[string]string{"zone": "z"} }), 7, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			held, lose := 0, 0
			verdicts := hostinfo.Decide(cluster(c.well, c.mute...), defaults())
			for _, v := range verdicts {
				if v.Held {
					held++
				}
				lose += len(v.Losses)
				if said := strings.Contains(strings.Join(v.Alarms, ""), "fell silent together"); said != (c.held > 0) {
					t.Errorf("node %s: held is said %v, want %v", v.Node, said, c.held > 0)
				}
			}
			if held != c.held || lose != c.lose {
				t.Errorf("%d held and %d given up, want %d and %d", held, lose, c.held, c.lose)
			}
		})
	}
}

func TestDomainIsNotReleasedBySilenceFromBeforeTheVoid(t *testing.T) {
	s := cluster(10, silents(4, 20*time.Minute, "z")...)
	for _, c := range []struct {
		void time.Duration
		held bool
	}{{20 * sec, true}, {299 * sec, true}, {300 * sec, false}} {
		s.Void = c.void
		if v := hostinfo.Decide(s, defaults())[0]; v.Held != c.held || (len(v.Losses) == 0) != c.held {
			t.Errorf("%v after all silences began again: %+v", c.void, v)
		}
	}
}

func TestOneNodeBeginsInTenSeconds(t *testing.T) {
	s := cluster(20, silents(3, 40*sec, "")...)
	s.Nodes[1].Begun = true
	for _, c := range []struct {
		last time.Duration
		want int
	}{{9 * sec, 1}, {10 * sec, 3}} {
		s.LastBegun = c.last
		lose := 0
		for _, v := range hostinfo.Decide(s, defaults()) {
			lose += len(v.Losses)
			for _, l := range v.Losses {
				if l.Begins == (v.Node == "mute1") {
					t.Errorf("%s begins: %v", v.Node, l.Begins)
				}
			}
		}
		if lose != c.want {
			t.Errorf("%v after the last began: %d may lose, want %d", c.last, lose, c.want)
		}
	}
}

func TestDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		self  hostinfo.Self
		doubt bool
	}{
		"well":              {hostinfo.Self{Gap: sec, Nodes: 3, Unheard: sec}, false},
		"slow round":        {hostinfo.Self{Gap: 4900 * time.Millisecond, Nodes: 3, Unheard: sec}, false},
		"stood still":       {hostinfo.Self{Gap: 5 * sec, Nodes: 3, Unheard: sec}, true},
		"suspended":         {hostinfo.Self{Gap: sec, Slept: true, Nodes: 3, Unheard: sec}, true},
		"ledger fails":      {hostinfo.Self{Gap: sec, Nodes: 3, Unheard: sec, Ledger: errors.New("fsync: I/O error")}, true},
		"nobody heard":      {hostinfo.Self{Gap: sec, Nodes: 3, Unheard: 5 * sec}, true},
		"nobody there":      {hostinfo.Self{Gap: sec, Unheard: time.Hour}, false},
		"nobody for a beat": {hostinfo.Self{Gap: sec, Nodes: 1, Unheard: 2 * sec}, false},
	} {
		if got := defaults().Doubt(c.self); (got != "") != c.doubt {
			t.Errorf("%s: doubt %q", name, got)
		}
	}
}

func TestDecideIsPure(t *testing.T) {
	s := cluster(5, append(silents(3, 300*sec, "a"), silents(3, 300*sec, "b")...)...)
	for i := range s.Nodes {
		s.Nodes[i].Daemons = []hostinfo.MuteDaemon{{Owner: "alice", Age: 40 * sec}, {Owner: "bob", Age: 50 * sec}}
	}
	first := hostinfo.Decide(s, defaults())
	for range 50 {
		if diff := cmp.Diff(first, hostinfo.Decide(s, defaults())); diff != "" {
			t.Fatalf("equal snapshots, other verdicts:\n%s", diff)
		}
	}
}
