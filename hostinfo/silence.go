package hostinfo

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"longshore/internal/placement"
)

// Times are the stages of silence. Zero means the default.
type Times struct {
	Soonest   time.Duration // shortest silence that any service may count as loss, and that counts for the mass guard; 5 s
	Suspect   time.Duration // no new work; 15 s
	Lost      time.Duration // placements are put back; 30 s
	Answering time.Duration // the same, when the host answers or one of its processes is heard; 300 s
	Domain    time.Duration // a whole domain is released from the mass guard; 300 s
	PerNode   time.Duration // at most one node begins to be given up each; 10 s
	PerSecond int           // placements put back at most; 10
	Gap       time.Duration // of our own clock that makes us suspect ourselves; 5 s
}

// WithDefaults is t with its zeros filled in.
func (t Times) WithDefaults() Times {
	t.Soonest = cmp.Or(t.Soonest, 5*time.Second)
	t.Suspect = cmp.Or(t.Suspect, 15*time.Second)
	t.Lost = cmp.Or(t.Lost, 30*time.Second)
	t.Answering = cmp.Or(t.Answering, 300*time.Second)
	t.Domain = cmp.Or(t.Domain, 300*time.Second)
	t.PerNode = cmp.Or(t.PerNode, 10*time.Second)
	t.PerSecond = cmp.Or(t.PerSecond, 10)
	t.Gap = cmp.Or(t.Gap, 5*time.Second)
	return t
}

// HostAnswer is what the last probe in a silence said about the host.
type HostAnswer int

// A host that answers lives: it accepted or refused a connection.
const (
	HostUnknown HostAnswer = iota
	HostAnswers
	HostMute
)

// Snapshot is all that a decision about silence rests on.
type Snapshot struct {
	Void      time.Duration // since all silences began again; a longer one counts as this long
	Trouble   string        // why we suspect ourselves: then nothing is given up
	LastBegun time.Duration // since anything last began to be given up
	Nodes     []Heard       // by name
}

// Heard is what is known of one node. Ages are since the last word, or since
// the collector began if there was none.
type Heard struct {
	placement.NodeRecord
	Met      bool          // there was a word at all
	Agent    time.Duration // age of agentd's last word
	Hostinfo time.Duration // age of hostinfod's last word
	Listing  time.Duration // age of the last complete listing
	Daemons  []MuteDaemon  // that the last listing could not show, by owner
	Doubled  bool          // two hostinfods speak for it
	Host     HostAnswer
	Begun    bool          // its placements are being put back
	Lost     bool          // they all were, since it was last heard
	LostFor  time.Duration // since then
	Freed    bool          // an operator released this silence from the mass guard
}

// MuteDaemon is an owner's daemon that could not be listed.
type MuteDaemon struct {
	Owner string
	Age   time.Duration // of the last listing that showed it
	Err   string
	Begun bool
	Freed bool // an operator released this silence from the mass guard
}

// Verdict is what a decision says of one node.
type Verdict struct {
	Node   placement.NodeID
	State  placement.NodeState
	Alarms []string
	Held   bool   // by the mass guard
	Probe  bool   // ask whether the host answers
	Losses []Loss // to tell the ledger now
}

// Loss is a silence that the ledger is to hear of.
type Loss struct {
	placement.Silence
	Begins bool // nothing of it was put back yet: at most one such may, in a round
	Final  bool // long enough for all but services that wait longer
}

// Decide judges every node of the snapshot, in its order. It is pure: equal
// snapshots, equal verdicts.
func Decide(s Snapshot, t Times) []Verdict {
	g := t.guard(s)
	verdicts := make([]Verdict, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		v := Verdict{
			Node:   n.Node,
			State:  t.state(n),
			Alarms: t.alarms(n),
			Held:   g.nodes[n.Node],
			Probe:  !n.GivenUp && !n.Lost && n.Address != "" && n.quiet() >= t.Soonest,
		}
		if g.why != "" {
			v.Alarms = append(v.Alarms, g.why)
		}
		if s.Trouble != "" {
			v.Alarms = append(v.Alarms, "the broadcaster suspects itself and gives nothing up: "+s.Trouble)
		}
		if s.Trouble == "" && !n.GivenUp {
			v.Losses = t.losses(s, n, g)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// quiet is how long the node as a whole has not been heard.
func (n Heard) quiet() time.Duration { return min(n.Agent, n.Hostinfo) }

// half is how long one of its two processes has been missing. A hostinfod that
// beats and cannot list is missing, from when its next listing was overdue.
func (n Heard) half(t Times) time.Duration {
	return max(n.Agent, n.Hostinfo, n.Listing-t.Soonest)
}

// since is n with ages that begin again at the last void.
func (n Heard) since(void time.Duration) Heard {
	n.Agent, n.Hostinfo, n.Listing = min(n.Agent, void), min(n.Hostinfo, void), min(n.Listing, void)
	return n
}

func (t Times) state(n Heard) placement.NodeState {
	quiet, half := n.quiet(), n.half(t)
	switch {
	case n.GivenUp:
		return placement.NodeGivenUp
	case n.Lost && (quiet >= t.Soonest || half >= t.Lost):
		return placement.NodeLost
	case quiet >= t.Lost:
		return placement.NodeSilent
	case quiet >= t.Suspect || half >= t.Lost || n.Doubled || !n.Met:
		return placement.NodeSuspect
	case n.Draining:
		return placement.NodeDraining
	}
	return placement.NodeReady
}

func (t Times) alarms(n Heard) []string {
	var alarms []string
	say := func(format string, args ...any) { alarms = append(alarms, fmt.Sprintf(format, args...)) }
	seconds := func(d time.Duration) time.Duration { return d.Truncate(time.Second) }
	switch {
	case n.GivenUp:
	case n.quiet() >= t.Suspect && n.Host == HostAnswers:
		say("neither agentd nor hostinfod heard for %v, but the host answers", seconds(n.quiet()))
	case n.quiet() >= t.Suspect:
		say("not heard for %v", seconds(n.quiet()))
	case n.Agent >= t.Lost:
		say("agentd not heard for %v, hostinfod is", seconds(n.Agent))
	case n.Hostinfo >= t.Lost:
		say("hostinfod not heard for %v, agentd is", seconds(n.Hostinfo))
	case n.Listing-t.Soonest >= t.Lost:
		say("hostinfod has sent no complete listing for %v", seconds(n.Listing))
	}
	if n.Doubled {
		say("two hostinfods speak for this node: stop one, or give it another name")
	}
	for _, d := range n.Daemons {
		if d.Age >= t.Suspect {
			say("dockerd of %s not listed for %v: %s", d.Owner, seconds(d.Age), cmp.Or(d.Err, "it is not in the listing"))
		}
	}
	return alarms
}

// losses are the silences of n that the ledger is to hear of now.
func (t Times) losses(s Snapshot, n Heard, g guard) []Loss {
	if g.nodes[n.Node] {
		return nil
	}
	n = n.since(s.Void)
	var losses []Loss
	add := func(owner string, age time.Duration, answers, begun, final bool) {
		if begun || s.LastBegun >= t.PerNode {
			losses = append(losses, Loss{
				Silence: placement.Silence{Node: n.Node, Owner: owner, For: placement.Millis(age.Milliseconds()), HostAnswers: answers, Max: t.PerSecond},
				Begins:  !begun, Final: final,
			})
		}
	}
	probed := n.Host != HostUnknown || n.Address == ""
	answers := n.Host == HostAnswers
	switch {
	case n.quiet() >= t.Soonest && probed && !answers:
		add("", n.quiet(), false, n.Begun, n.quiet() >= t.Lost)
	case n.quiet() >= t.Answering && probed:
		add("", n.quiet(), true, n.Begun, true)
	case n.half(t) >= t.Answering:
		add("", n.half(t), true, n.Begun, true)
	}
	for _, d := range n.Daemons {
		age := min(d.Age, s.Void)
		if n.Hostinfo < t.Soonest && age >= t.Soonest && !g.owners[d.Owner] {
			add(d.Owner, age, false, d.Begun, age >= t.Lost)
		}
	}
	return losses
}

// inOrder is all losses of the verdicts, those under way first, then the
// longest silence, then by name.
func inOrder(verdicts []Verdict) []Loss {
	var all []Loss
	for _, v := range verdicts {
		all = append(all, v.Losses...)
	}
	slices.SortStableFunc(all, func(a, b Loss) int {
		if a.Begins != b.Begins {
			if b.Begins {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.For, a.For), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Owner, b.Owner))
	})
	return all
}

// Self is what we know of ourselves at a round.
type Self struct {
	Gap     time.Duration // since the round before
	Slept   bool          // the machine was suspended meanwhile
	Nodes   int           // that should be heard
	Unheard time.Duration // since any of them was
	Ledger  error         // why the ledger fails; nil: it does not
}

// Doubt says why we should suspect ourselves before any node; "" if we need
// not. All silences then begin again.
func (t Times) Doubt(s Self) string {
	switch {
	case s.Slept:
		return "this machine was suspended"
	case s.Gap >= t.Gap:
		return fmt.Sprintf("this process stood still for %v", s.Gap.Truncate(100*time.Millisecond))
	case s.Ledger != nil:
		return "the ledger fails: " + s.Ledger.Error()
	case s.Nodes > 0 && s.Unheard >= t.Soonest:
		return fmt.Sprintf("no node at all heard for %v", s.Unheard.Truncate(time.Second))
	}
	return ""
}
