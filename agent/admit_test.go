package agent_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longshore/agent"
	"longshore/internal/placement"
)

const gib = 1 << 30

// TestAdmitRacing: who passes only for a placement that may lose its race says
// that it is worth asking again.
func TestAdmitRacing(t *testing.T) {
	big := placement.Request{HAToken: "t", Needs: placement.Resources{CPU: 900}}
	state := func(racing bool, capacity int64) agent.State {
		return agent.State{
			Node: "n1", Registered: true, MaxBusy: 8, Capacity: placement.Resources{CPU: capacity, Memory: gib},
			Holds: []agent.Hold{{ID: id("alice/shop/web/1", 1), Epoch: epoch(1), Request: big, Racing: racing}},
		}
	}
	plain := placement.Request{Needs: big.Needs}
	for _, tt := range []struct {
		name  string
		state agent.State
		req   placement.Request
		code  string
		soon  bool
	}{
		{"token held", state(false, 4000), big, placement.ReasonHAToken, false},
		{"token raced for", state(true, 4000), big, placement.ReasonHAToken, true},
		{"room held", state(false, 1000), plain, placement.ReasonCPU, false},
		{"room raced for", state(true, 1000), plain, placement.ReasonCPU, true},
		{"no room either way", state(true, 800), plain, placement.ReasonCPU, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok, why := agent.Admit(tt.state, placement.Offer{ID: id("alice/shop/web/2", 1), Epoch: epoch(9), Request: tt.req})
			if ok || why.Code != tt.code || why.Soon != tt.soon {
				t.Errorf("%t %+v, want %s, soon %t", ok, why, tt.code, tt.soon)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	res := func(cpu, mem, disk int64) placement.Resources {
		return placement.Resources{CPU: cpu, Memory: mem, Disk: disk}
	}
	hold := func(id placement.ID, r placement.Request) agent.Hold {
		return agent.Hold{ID: id, Epoch: epoch(1), Request: r}
	}
	web1, web2, web1b := id("alice/shop/web/1", 1), id("alice/shop/web/2", 1), id("alice/shop/web/1", 2)
	bobs := id("bob/shop/web/1", 1)
	base := agent.State{
		Node: "n1", Registered: true, MaxBusy: 8,
		Capacity: res(4000, 8*gib, 100*gib), Defaults: res(100, 64<<20, 0),
	}
	with := func(change func(*agent.State)) agent.State { s := base; change(&s); return s }
	holding := func(h ...agent.Hold) agent.State { return with(func(s *agent.State) { s.Holds = h }) }
	token := func(domain string) placement.Request {
		return placement.Request{HAToken: "shop-web", HADomain: domain}
	}
	listen := func(net string, ports ...uint16) placement.Request {
		return placement.Request{Net: net, Listen: ports}
	}
	port := func(host uint16, proto string) placement.Request {
		return placement.Request{Ports: []placement.Port{{Container: 80, Host: host, Proto: proto}}}
	}
	need := func(r placement.Resources) placement.Request { return placement.Request{Needs: r} }

	for _, tt := range []struct {
		name  string
		state agent.State
		id    placement.ID
		req   placement.Request
		want  string // of the reason; "" if admitted
	}{
		{"empty node", base, web1, need(res(1000, gib, gib)), ""},
		{"stopping", with(func(s *agent.State) { s.Draining = true }), web1, need(res(1, 1, 0)), "draining: the agent is stopping"},
		{"not registered", with(func(s *agent.State) { s.Registered = false }), web1, need(res(1, 1, 0)), "starting: the agent is not registered yet"},
		{"another node", base, web1, placement.Request{Node: "n2"}, "node: need n2, have n1"},
		{"this node", base, web1, placement.Request{Node: "n1"}, ""},
		{"busy", with(func(s *agent.State) { s.Busy = 8 }), web1, need(res(1, 1, 0)), "busy: need one of 8 places, have 8 placements in work"},

		{"exactly full", base, web1, need(res(4000, 8*gib, 100*gib)), ""},
		{"cpu", holding(hold(web2, need(res(2500, gib, 0)))), web1, need(res(2000, gib, 0)), "cpu: need 2 cores, have 1.5 cores"},
		{"memory", holding(hold(web2, need(res(100, 27*gib/4, 0)))), web1, need(res(100, 2*gib, 0)), "memory: need 2 GiB, have 1.2 GiB"},
		{"memory by a byte", holding(hold(web2, need(res(100, 6*gib+1, 0)))), web1, need(res(100, 2*gib, 0)), "memory: need 2 GiB, have 1.9 GiB"},
		{"disk", holding(hold(web2, need(res(100, gib, 99*gib)))), web1, need(res(100, gib, 3*gib/2)), "disk: need 1.5 GiB, have 1 GiB"},
		{"default cpu counts for copies", holding(hold(web2, need(res(0, gib, 0)))), web1, need(res(4000, gib, 0)), "cpu: need 4 cores, have 3.9 cores"},
		{"default memory counts for offers", holding(hold(web2, need(res(100, 8*gib-1<<20, 0)))), web1, need(res(100, 0, 0)), "memory: need 64 MiB, have 1 MiB"},
		{"strangers count", with(func(s *agent.State) { s.Strangers = 35 }), web1, need(res(1000, gib, 0)), "cpu: need 1 core, have 0.5 cores"},
		{"overfull behind our back", with(func(s *agent.State) { s.Strangers = 9 * 16; s.Capacity.CPU = 1 << 20 }), web1, need(res(100, gib, 0)), "memory: need 1 GiB, have 0 B"},

		{"same placement", holding(hold(web1, need(res(1, 1, 0)))), web1, need(res(1, 1, 0)), "held: a copy of epoch " + string(epoch(1))},
		{"another life of the replica", holding(hold(web1, need(res(1, 1, 0)))), web1b, need(res(1, 1, 0)), ""},
		{"a stale life counts", holding(hold(web1, need(res(3000, 1, 0)))), web1b, need(res(2000, 1, 0)), "cpu: need 2 cores, have 1 core"},

		{"token", holding(hold(web1, token(""))), web2, token("node"), "ha_token shop-web held by alice/shop/web/1"},
		{"token of another owner", holding(hold(bobs, token(""))), web2, token(""), ""},
		{"token of the same replica", holding(hold(web1, token(""))), web1b, token(""), ""},
		{"token by zone is the ledger's", holding(hold(web1, token("zone"))), web2, token("zone"), ""},
		{"another token", holding(hold(web1, placement.Request{HAToken: "x"})), web2, token(""), ""},

		{"host port", holding(hold(bobs, port(8080, ""))), web1, port(8080, "tcp"), "host_port 8080/tcp held by bob/shop/web/1"},
		{"host port of another protocol", holding(hold(bobs, port(8080, "udp"))), web1, port(8080, "tcp"), ""},
		{"host port of a stale life", holding(hold(web1, port(8080, ""))), web1b, port(8080, ""), "host_port 8080/tcp held by alice/shop/web/1"},
		{"unpublished ports", holding(hold(bobs, port(0, ""))), web1, port(0, ""), ""},

		{"listening port", holding(hold(web1, listen("", 80, 443))), web2, listen("", 443), "listen_port 443 held by alice/shop/web/1"},
		{"listening port of another owner", holding(hold(bobs, listen("", 80))), web2, listen("", 80), ""},
		{"own net container", holding(hold(web1, listen("", 80))), web2, listen(placement.NetReplica, 80), ""},
		{"beside an own net container", holding(hold(web1, listen(placement.NetReplica, 80))), web2, listen("", 80), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok, why := agent.Admit(tt.state, placement.Offer{ID: tt.id, Epoch: epoch(9), Request: tt.req})
			if ok != (tt.want == "") || why.String() != tt.want {
				t.Errorf("got %t %q, want %q", ok, why, tt.want)
			}
		})
	}
}

func TestFullness(t *testing.T) {
	s := agent.State{Capacity: placement.Resources{CPU: 4000, Memory: 8 * gib}}
	var got []float64
	for _, p := range []placement.Resources{{}, {CPU: 1000}, {CPU: 1000, Memory: 4 * gib}, {Memory: 80 * gib}} {
		s.Holds = []agent.Hold{{Request: placement.Request{Needs: p}}}
		got = append(got, s.Fullness())
	}
	if diff := cmp.Diff([]float64{0, 0.25, 0.5, 1}, got); diff != "" {
		t.Error(diff)
	}
}

func epoch(n uint32) placement.Epoch { return start1.Epoch(n) }

func id(replica placement.Replica, life uint32) placement.ID {
	return replica.Placement(start1.Life(life))
}

var start1 = placement.NewStart(1, 0xbeef)

func TestNeverReadsAlike(t *testing.T) {
	// A need is rounded up and what there is down: the text shows which is less.
	for _, n := range []int64{1, 1023, 1025, 1 << 20, gib + 1, 3*gib - 1} {
		s := agent.State{Node: "n1", Registered: true, MaxBusy: 1, Capacity: placement.Resources{Memory: n}}
		ok, why := agent.Admit(s, placement.Offer{ID: id("a/b/c/1", 1), Request: placement.Request{Needs: placement.Resources{Memory: n + 1}}})
		if ok || why.Need == why.Have || strings.HasPrefix(why.Have, "-") {
			t.Errorf("%d: %t %v", n, ok, why)
		}
	}
}
