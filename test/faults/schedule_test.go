package faults_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"longshore/test/cluster"
)

// kinds of faults, each a SIGKILL but the last.
var kinds = []string{"broadcasterd", "agentd", "hostinfod", "dockerd", "redis-server", "flushall"}

// fault is one blow.
type fault struct {
	after   time.Duration // the one before
	kind    string
	node    int
	pick    int           // which of the node's daemons
	restart time.Duration // until it is started again
}

// dealer deals faults, every kind as often as any other.
type dealer struct {
	rand  *rand.Rand
	mean  time.Duration // between faults
	down  time.Duration // at most, until what was killed is started again
	nodes int
	deck  []string
}

func (d *dealer) next() fault {
	if len(d.deck) == 0 {
		d.deck = slices.Clone(kinds)
		d.rand.Shuffle(len(d.deck), func(i, j int) { d.deck[i], d.deck[j] = d.deck[j], d.deck[i] })
	}
	f := fault{
		after:   min(time.Duration(d.rand.ExpFloat64()*float64(d.mean)), 3*d.mean),
		kind:    d.deck[0],
		node:    d.rand.IntN(d.nodes),
		pick:    d.rand.IntN(8),
		restart: 100*time.Millisecond + time.Duration(d.rand.Int64N(int64(d.down))),
	}
	d.deck = d.deck[1:]
	return f
}

// storm deals faults to a cluster and starts again what they ended. It is used
// by the test's own goroutine alone.
type storm struct {
	c      *cluster.Cluster
	deal   dealer
	say    func(format string, args ...any)
	again  []rebirth // by time
	landed map[string]int
}

type rebirth struct {
	at time.Time
	p  *cluster.Process
}

// rage deals n faults that hit something.
func (s *storm) rage(n int) {
	began := time.Now()
	for hits := 0; hits < n; {
		f := s.deal.next()
		s.until(time.Now().Add(f.after))
		if what := s.strike(f); what != "" {
			hits++
			s.landed[f.kind]++
			s.say("%6.1f s  fault %2d: %s", time.Since(began).Seconds(), hits, what)
		}
	}
	for len(s.again) > 0 {
		s.until(s.again[0].at)
	}
}

// until starts what is due until the time has come.
func (s *storm) until(t time.Time) {
	for len(s.again) > 0 && !s.again[0].at.After(t) {
		<-time.After(time.Until(s.again[0].at))
		s.again[0].p.Start()
		s.again = s.again[1:]
	}
	<-time.After(time.Until(t))
}

// strike does the fault and says what it was; "" if its aim was down already.
func (s *storm) strike(f fault) string {
	n := s.c.Nodes[f.node]
	switch f.kind {
	case "broadcasterd":
		return s.kill(s.c.Broadcaster, f)
	case "agentd":
		return s.kill(n.Agent, f)
	case "hostinfod":
		return s.kill(n.Hostinfo, f)
	case "redis-server":
		return s.kill(s.c.Redis, f)
	case "dockerd":
		pid := n.KillDaemon(f.pick)
		if pid == 0 {
			return ""
		}
		return fmt.Sprintf("kill -9 dockerd %d of %s", pid, n.Name)
	}
	if err := s.c.FlushRedis(); err != nil {
		return ""
	}
	return "redis-cli flushall"
}

func (s *storm) kill(p *cluster.Process, f fault) string {
	if !p.Running() {
		return ""
	}
	p.Kill()
	s.again = append(s.again, rebirth{time.Now().Add(f.restart), p})
	slices.SortStableFunc(s.again, func(a, b rebirth) int { return a.at.Compare(b.at) })
	return fmt.Sprintf("kill -9 %s, started again after %.1f s", p.Name, f.restart.Seconds())
}

// byKind is "4 agentd, 3 broadcasterd ...".
func (s *storm) byKind() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(s.landed)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.landed[kind], kind))
	}
	return strings.Join(parts, ", ")
}
