package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"longshore/internal/placement"
)

// Fault is one thing that goes wrong, from At on, For so long.
type Fault struct {
	At, For time.Duration
	Kind    string
	Node    int // of the kinds that hit one node
}

func (f Fault) String() string {
	return fmt.Sprintf("%s  %s for %v (n%d)", stamp(f.At), f.Kind, f.For.Round(time.Millisecond), f.Node)
}

// kind is what a fault does. One that has heal is there for a while. What
// touches all nodes, or one, is known to the judge: there it forgives late
// repairs.
type kind struct {
	weight int
	most   time.Duration // the longest; 0: it is over at once
	all    bool
	strike func(w *world, n *node)
	heal   func(w *world, n *node)
}

// kinds are all faults, by name.
var kinds = map[string]kind{
	"agentd killed": {
		weight: 10, most: 20 * time.Second,
		strike: func(_ *world, n *node) { n.killAgent() },
		heal:   func(_ *world, n *node) { n.startAgent() },
	},
	"hostinfod killed": {
		weight: 8, most: 20 * time.Second,
		strike: func(_ *world, n *node) { n.hostinfod.kill() },
		heal:   func(_ *world, n *node) { n.startHostinfo() },
	},
	"both killed": {
		weight: 4, most: 90 * time.Second,
		strike: func(_ *world, n *node) { n.killAgent(); n.hostinfod.kill() },
		heal:   func(_ *world, n *node) { n.startAgent(); n.startHostinfo() },
	},
	"agentd replaced": {
		weight: 3, most: 3 * time.Second,
		strike: func(_ *world, n *node) { n.agentd.cancel() },
		heal:   func(_ *world, n *node) { n.startAgent() },
	},
	"agentd stopped": {
		weight: 6, most: 90 * time.Second,
		strike: func(_ *world, n *node) { n.agentd.pause(true) },
		heal:   func(_ *world, n *node) { n.agentd.pause(false) },
	},
	"hostinfod stopped": {
		weight: 4, most: 90 * time.Second,
		strike: func(_ *world, n *node) { n.hostinfod.pause(true) },
		heal:   func(_ *world, n *node) { n.hostinfod.pause(false) },
	},
	"node rebooted": {
		weight: 5, most: 3 * time.Minute,
		strike: func(_ *world, n *node) { n.powerOff() },
		heal:   func(_ *world, n *node) { n.powerOn() },
	},
	"node partitioned": {
		weight: 8, most: 3 * time.Minute,
		strike: func(w *world, n *node) { w.partition(n, true, true) },
		heal:   func(w *world, n *node) { w.rejoin(n) },
	},
	"node not heard": {
		weight: 4, most: 2 * time.Minute,
		strike: func(w *world, n *node) { w.partition(n, true, false) },
		heal:   func(w *world, n *node) { w.rejoin(n) },
	},
	"node not reached": {
		weight: 4, most: 2 * time.Minute,
		strike: func(w *world, n *node) { w.partition(n, false, true) },
		heal:   func(w *world, n *node) { w.rejoin(n) },
	},
	"link cut": {
		weight: 6,
		strike: func(w *world, n *node) {
			w.net.cut(func(c *conn) bool { return c.proc.host == n.host })
		},
	},
	"link slow": {
		weight: 4, most: 2 * time.Minute,
		strike: func(_ *world, n *node) { n.host.slow.Store(int64(3 * time.Second)) },
		heal:   func(_ *world, n *node) { n.host.slow.Store(0) },
	},
	"daemon died": {
		weight: 6, most: 40 * time.Second,
		strike: func(_ *world, n *node) { n.docker.die(n.anOwner()) },
		heal: func(_ *world, n *node) {
			for _, o := range n.docker.owners() {
				n.docker.revive(o)
			}
		},
	},
	"daemon mute": {
		weight: 4, most: 2 * time.Minute,
		strike: func(_ *world, n *node) { n.docker.setMute(n.anOwner()) },
		heal:   func(_ *world, n *node) { n.docker.setMute("") },
	},
	"Docker fails": {
		weight: 5, most: 2 * time.Minute,
		strike: func(_ *world, n *node) { n.docker.failing = 0.3 },
		heal:   func(_ *world, n *node) { n.docker.failing = 0 },
	},
	"Docker slow": {
		weight: 4, most: 2 * time.Minute,
		strike: func(_ *world, n *node) { n.docker.slow = 40 * time.Second },
		heal:   func(_ *world, n *node) { n.docker.slow = 0 },
	},
	"listings fail": {
		weight: 3, most: time.Minute,
		strike: func(_ *world, n *node) { n.docker.blind = true },
		heal:   func(_ *world, n *node) { n.docker.blind = false },
	},
	"no pulls": {
		weight: 2, most: 2 * time.Minute,
		strike: func(_ *world, n *node) { n.docker.noPull = true },
		heal:   func(_ *world, n *node) { n.docker.noPull = false },
	},
	"events lost": {
		weight: 3, most: 30 * time.Second,
		strike: func(_ *world, n *node) { n.docker.deafen(true) },
		heal:   func(_ *world, n *node) { n.docker.deafen(false) },
	},
	"copies exit": {
		weight: 10,
		strike: func(w *world, n *node) { n.docker.some(2, func(c *container) { n.docker.exit(c, 1) }) },
	},
	"copies vanish": {
		weight: 6,
		strike: func(w *world, n *node) { n.docker.some(3, func(c *container) { n.docker.remove(c) }) },
	},
	"state disk fails": {
		weight: 2, most: time.Minute,
		strike: func(_ *world, n *node) { n.hideFiles(true) },
		heal:   func(_ *world, n *node) { n.hideFiles(false) },
	},
	"drained": {
		weight: 2, most: 3 * time.Minute,
		strike: func(w *world, n *node) { w.drain(n, true) },
		heal:   func(w *world, n *node) { w.drain(n, false) },
	},

	"Redis wiped":    {weight: 3, strike: func(w *world, _ *node) { w.redis.wipe() }},
	"Redis restored": {weight: 2, strike: func(w *world, _ *node) { w.redis.restore() }},
	"Redis down": {
		weight: 3, most: 2 * time.Minute,
		strike: func(w *world, _ *node) { w.redis.down = true },
		heal:   func(w *world, _ *node) { w.redis.down = false },
	},
	"Redis hangs": {
		weight: 2, most: time.Minute,
		strike: func(w *world, _ *node) { w.redis.hangs = true },
		heal:   func(w *world, _ *node) { w.redis.hangs = false },
	},
	"Redis lies": {
		weight: 2, most: time.Minute,
		strike: func(w *world, _ *node) { w.redis.lies = true },
		heal:   func(w *world, _ *node) { w.redis.lies = false },
	},
	"Redis unreachable from a node": {
		weight: 3, most: 2 * time.Minute,
		strike: func(w *world, n *node) { w.net.partition(n.host, w.redisHost, true) },
		heal:   func(w *world, n *node) { w.net.partition(n.host, w.redisHost, false) },
	},

	"broadcasterd killed": {
		weight: 3, most: 45 * time.Second, all: true,
		strike: func(w *world, _ *node) { w.server.kill() },
		heal:   func(w *world, _ *node) { w.startServer() },
	},
	"broadcasterd stopped": {
		weight: 2, most: time.Minute, all: true,
		strike: func(w *world, _ *node) { w.server.pause(true) },
		heal:   func(w *world, _ *node) { w.server.pause(false) },
	},
	"ledger disk full": {
		weight: 2, most: time.Minute,
		strike: func(w *world, _ *node) { w.disk.full = true },
		heal:   func(w *world, _ *node) { w.disk.full = false },
	},
	"ledger disk slow": {
		weight: 2, most: time.Minute, all: true,
		strike: func(w *world, _ *node) { w.disk.slow = time.Second },
		heal:   func(w *world, _ *node) { w.disk.slow = 0 },
	},
	"ledger disk hangs": {
		weight: 1, most: 40 * time.Second, all: true,
		strike: func(w *world, _ *node) { w.disk.hangs(true) },
		heal:   func(w *world, _ *node) { w.disk.hangs(false) },
	},
	"ledger copied back": {
		weight: 1, most: 2 * time.Minute, all: true,
		strike: func(w *world, _ *node) { w.disk.saved = w.disk.store.Clone() },
		heal:   func(w *world, _ *node) { w.disk.rollBack() },
	},
	"half the nodes partitioned": {
		weight: 1, most: 4 * time.Minute, all: true,
		strike: func(w *world, _ *node) { w.half(func(n *node) { w.partition(n, true, true) }) },
		heal:   func(w *world, _ *node) { w.half(func(n *node) { w.rejoin(n) }) },
	},
	"all agents replaced": {
		weight: 1, most: 5 * time.Second, all: true,
		strike: func(w *world, _ *node) { w.each(func(n *node) { n.agentd.cancel() }) },
		heal:   func(w *world, _ *node) { w.each(func(n *node) { n.startAgent() }) },
	},
	"everything killed": {
		weight: 1, most: 30 * time.Second, all: true,
		strike: func(w *world, _ *node) {
			w.server.kill()
			w.each(func(n *node) { n.killAgent(); n.hostinfod.kill() })
		},
		heal: func(w *world, _ *node) {
			w.startServer()
			w.each(func(n *node) { n.startAgent(); n.startHostinfo() })
		},
	},
}

// Faults are those of a run: one every few seconds, as the seed will have it.
func Faults(seed uint64, nodes int, length, every time.Duration) []Fault {
	r := rand.New(rand.NewPCG(seed, fnv("faults")))
	var lots []string
	for _, name := range sortedKeys(kinds) {
		lots = append(lots, slices.Repeat([]string{name}, kinds[name].weight)...)
	}
	var faults []Fault
	for at := 90 * time.Second; at < length; at += every/2 + time.Duration(r.Int64N(int64(every))) {
		f := Fault{At: at, Kind: lots[r.IntN(len(lots))], Node: r.IntN(nodes)}
		if most := kinds[f.Kind].most; most > 0 {
			short := min(most, 20*time.Second)
			f.For = time.Duration(r.Int64N(int64(short)))
			if r.IntN(3) == 0 {
				f.For = time.Duration(r.Int64N(int64(most)))
			}
		}
		f.For = min(f.For, length-at-time.Duration(len(faults))*time.Millisecond) // not all at one moment
		faults = append(faults, f)
	}
	return faults
}

// inject makes a fault happen, and has it healed.
func (w *world) inject(f Fault) {
	k, n := kinds[f.Kind], w.nodes[f.Node%len(w.nodes)]
	if w.active[f.Kind] > 0 && (k.all || w.active[f.Kind+string(n.id)] > 0) {
		return // it is there already
	}
	w.injected++
	w.fired["fault: "+f.Kind]++
	w.tell("FAULT  %s: %s, for %v", n.id, f.Kind, f.For.Round(time.Millisecond))
	w.count(f.Kind, n, k.all, 1)
	k.strike(w, n)
	w.e.after(max(f.For, 0), fnv(f.Kind+string(n.id)), func() {
		if k.heal != nil {
			w.tell("HEALED  %s: %s", n.id, f.Kind)
			k.heal(w, n)
		}
		w.count(f.Kind, n, k.all, -1)
	})
}

func (w *world) count(kind string, n *node, all bool, by int) {
	w.active[kind] += by
	w.active[kind+string(n.id)] += by
	if all {
		w.disturbed(by)
	} else {
		n.disturbed(by)
	}
}

func (w *world) each(f func(n *node)) {
	for _, n := range w.nodes {
		f(n)
	}
}

func (w *world) half(f func(n *node)) {
	for i, n := range w.nodes {
		if i%2 == 0 {
			f(n)
		}
	}
}

// drain is the operator's word about a node, given until it is heard.
func (w *world) drain(n *node, on bool) {
	w.spawn(w.clientHost, "operator-"+string(n.id), func(p *process) error {
		c := &client{p: p}
		defer c.hangUp()
		c.do(step{what: fmt.Sprintf("drains %s: %v", n.id, on), node: &placement.NodeChange{Node: n.id, Drain: &on}})
		return nil
	})
}
