package broadcaster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/broadcaster"
	"longshore/internal/placement"
)

// app is a valid app of one service, changed by f.
func app(f func(*placement.App, *placement.Service, *placement.Request)) placement.App {
	a := placement.App{V: 1, Owner: "alice", Name: "shop", Services: []placement.Service{{Name: "web", Replicas: 1, Request: placement.Request{V: 1, Image: "web"}}}}
	if f != nil {
		f(&a, &a.Services[0], &a.Services[0].Request)
	}
	return a
}

func TestNormalizeRefuses(t *testing.T) {
	type req = placement.Request
	tests := map[string]func(a *placement.App, s *placement.Service, r *req){
		"owner":       func(a *placement.App, _ *placement.Service, _ *req) { a.Owner = "a/b" },
		"no owner":    func(a *placement.App, _ *placement.Service, _ *req) { a.Owner = "" },
		"name":        func(a *placement.App, _ *placement.Service, _ *req) { a.Name = strings.Repeat("x", 64) },
		"format":      func(a *placement.App, _ *placement.Service, _ *req) { a.V = 2 },
		"no services": func(a *placement.App, _ *placement.Service, _ *req) { a.Services = nil },
		"many services": func(a *placement.App, s *placement.Service, _ *req) {
			a.Services = slices.Repeat([]placement.Service{*s}, 501)
		},
		"twice":         func(a *placement.App, s *placement.Service, _ *req) { a.Services = append(a.Services, *s) },
		"service":       func(_ *placement.App, s *placement.Service, _ *req) { s.Name = "we.b" },
		"replicas":      func(_ *placement.App, s *placement.Service, _ *req) { s.Replicas = -1 },
		"many replicas": func(_ *placement.App, s *placement.Service, _ *req) { s.Replicas = 10_001 },
		"sum of replicas": func(a *placement.App, s *placement.Service, _ *req) {
			t := *s
			t.Name = "x"
			s.Replicas, t.Replicas = 6000, 6000
			a.Services = append(a.Services, t)
		},
		"deadline":          func(_ *placement.App, s *placement.Service, _ *req) { s.Deadline = -1 },
		"request format":    func(_ *placement.App, _ *placement.Service, r *req) { r.V = 7 },
		"no image":          func(_ *placement.App, _ *placement.Service, r *req) { r.Image = "" },
		"image with space":  func(_ *placement.App, _ *placement.Service, r *req) { r.Image = "a b" },
		"long image":        func(_ *placement.App, _ *placement.Service, r *req) { r.Image = strings.Repeat("a", 513) },
		"image with escape": func(_ *placement.App, _ *placement.Service, r *req) { r.Image = "a\x1b[31m" },
		"long command":      func(_ *placement.App, _ *placement.Service, r *req) { r.Command = make([]string, 1001) },
		"huge argument": func(_ *placement.App, _ *placement.Service, r *req) {
			r.Command = []string{strings.Repeat("a", 128<<10)}
		},
		"argument with 0": func(_ *placement.App, _ *placement.Service, r *req) { r.Command = []string{"a\x00b"} },
		"huge request": func(_ *placement.App, _ *placement.Service, r *req) {
			r.Command = slices.Repeat([]string{strings.Repeat("a", 100<<10)}, 6)
		},
		"variable":          func(_ *placement.App, _ *placement.Service, r *req) { r.Env = []string{"A"} },
		"nameless variable": func(_ *placement.App, _ *placement.Service, r *req) { r.Env = []string{"=A"} },
		"variable twice":    func(_ *placement.App, _ *placement.Service, r *req) { r.Env = []string{"A=1", "B=1", "A=2"} },
		"cpu":               func(_ *placement.App, _ *placement.Service, r *req) { r.Needs.CPU = -1 },
		"memory":            func(_ *placement.App, _ *placement.Service, r *req) { r.Needs.Memory = 1<<50 + 1 },
		"disk limit":        func(_ *placement.App, _ *placement.Service, r *req) { r.Limits.Disk = 1 },
		"needs over limit":  func(_ *placement.App, _ *placement.Service, r *req) { r.Needs.Memory, r.Limits.Memory = 2, 1 },
		"port 0":            func(_ *placement.App, _ *placement.Service, r *req) { r.Ports = []placement.Port{{Host: 80}} },
		"protocol": func(_ *placement.App, _ *placement.Service, r *req) {
			r.Ports = []placement.Port{{Container: 80, Proto: "sctp"}}
		},
		"host port twice": func(_ *placement.App, _ *placement.Service, r *req) {
			r.Ports = []placement.Port{{Container: 80, Host: 80}, {Container: 81, Host: 80, Proto: "tcp"}}
		},
		"many ports": func(_ *placement.App, _ *placement.Service, r *req) { r.Ports = make([]placement.Port, 257) },
		"listen 0":   func(_ *placement.App, _ *placement.Service, r *req) { r.Listen = []uint16{0} },
		"restart":    func(_ *placement.App, _ *placement.Service, r *req) { r.Restart = "maybe" },
		"retries":    func(_ *placement.App, _ *placement.Service, r *req) { r.Retries = 1 },
		"token":      func(_ *placement.App, _ *placement.Service, r *req) { r.HAToken = "a b" },
		"token in two domains": func(a *placement.App, s *placement.Service, r *req) {
			t := *s
			t.Name, t.Request.HAToken, t.Request.HADomain = "x", "t", "zone"
			r.HAToken, r.HADomain = "t", "node"
			a.Services = append(a.Services, t)
		},
		"domain":          func(_ *placement.App, _ *placement.Service, r *req) { r.HADomain = "planet" },
		"net":             func(_ *placement.App, _ *placement.Service, r *req) { r.Net = "host" },
		"node":            func(_ *placement.App, _ *placement.Service, r *req) { r.Node = "../n" },
		"lost_after":      func(_ *placement.App, _ *placement.Service, r *req) { r.LostAfter = 4999 },
		"long lost_after": func(_ *placement.App, _ *placement.Service, r *req) { r.LostAfter = 3_600_001 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := broadcaster.Normalize(app(change))
			var e *placement.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a placement.Error", err)
			}
			if e.Kind != placement.KindInvalid || e.What == "" || e.Why == "" || e.Next == "" {
				t.Errorf("incomplete error %+v", e)
			}
			if len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x00\x1b") {
				t.Errorf("error shows raw input: %q", err)
			}
		})
	}
}

func TestNormalize(t *testing.T) {
	messy := app(func(a *placement.App, s *placement.Service, r *placement.Request) {
		a.V, r.V = 0, 0
		r.Command = []string{}
		r.Env = []string{"B=2", "A=1"}
		r.Ports = []placement.Port{{Container: 443, Host: 8443, Proto: "tcp"}, {Container: 80, Host: 8080}, {Container: 53, Proto: "udp"}}
		r.Listen = []uint16{9000, 80}
		r.Restart, r.HADomain, r.Net = "unless-stopped", "node", "shared"
		a.Services = append(a.Services, placement.Service{Name: "db", Request: placement.Request{Image: "db", Env: []string{}, Ports: []placement.Port{}, Listen: []uint16{}}})
	})
	want := placement.App{V: 1, Owner: "alice", Name: "shop", Services: []placement.Service{
		{Name: "db", Request: placement.Request{V: 1, Image: "db"}},
		{Name: "web", Replicas: 1, Request: placement.Request{
			V: 1, Image: "web", Env: []string{"A=1", "B=2"},
			Ports:  []placement.Port{{Container: 53, Proto: "udp"}, {Container: 80, Host: 8080}, {Container: 443, Host: 8443}},
			Listen: []uint16{80, 443, 9000},
		}},
	}}
	before := fmt.Sprint(messy)
	got, err := broadcaster.Normalize(messy)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if fmt.Sprint(messy) != before {
		t.Error("the input was changed")
	}
	again, err := broadcaster.Normalize(got)
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Errorf("the second time differs: %v\n%s", err, diff)
	}
}

// TestSubmit resolves images side by side, each once, and stores digests.
func TestSubmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan string, 10)
		w := start(t, nil, func(_ context.Context, owner, ref string) (string, []uint16, error) {
			time.Sleep(time.Second)
			calls <- owner + " " + ref
			return "alice/" + ref + "@sha256:1", []uint16{9090, 80}, nil
		})
		in := app(func(a *placement.App, s *placement.Service, r *placement.Request) {
			r.Ports = []placement.Port{{Container: 80, Host: 8080}, {Container: 53, Proto: "udp"}}
			for _, n := range []string{"web2", "db", "cache"} {
				svc := *s
				svc.Name = n
				svc.Request.Image = strings.TrimRight(n, "2")
				svc.Request.Ports = nil
				a.Services = append(a.Services, svc)
			}
		})
		begin := time.Now()
		var got placement.Submitted
		if err := w.dial("client", nil).Call(t.Context(), "submit", &got, in); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 1100*time.Millisecond || len(calls) != 3 {
			t.Errorf("took %s and %d look-ups", took, len(calls))
		}
		if got.App != "shop" || len(w.ledger.apps) != 1 {
			t.Fatalf("got %+v, stored %v", got, w.ledger.apps)
		}
		web := w.ledger.apps[0].Services[2]
		if web.Name != "web" || web.Request.Image != "alice/web@sha256:1" || !slices.Equal(web.Request.Listen, []uint16{80, 9090}) {
			t.Errorf("stored %+v", web)
		}
	})
}

// TestSubmitsDoNotWaitForEachOther: a registry that hangs, and bad requests,
// hold up nobody on the same link.
func TestSubmitsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, func(ctx context.Context, owner, ref string) (string, []uint16, error) {
			switch ref {
			case "hangs":
				<-ctx.Done()
				return "", nil, ctx.Err()
			case "none":
				return "", nil, &placement.Error{Kind: placement.KindNotFound, What: "no image none", Why: "nobody pushed it", Next: "push it"}
			case "own":
				return "", nil, errors.New("connection refused")
			}
			return plainImages(ctx, owner, ref)
		})
		client := w.dial("client", nil)
		submit := func(image string) error {
			return client.Call(t.Context(), "submit", nil, app(func(_ *placement.App, _ *placement.Service, r *placement.Request) { r.Image = image }))
		}
		hung := make(chan error, 1)
		go func() { hung <- submit("hangs") }()
		synctest.Wait()
		begin := time.Now()
		e := wantKind(t, submit("none"), placement.KindNotFound)
		if e.What != "service web: no image none" || e.Why == "" || e.Next != "push it" {
			t.Errorf("error %+v", e)
		}
		e = wantKind(t, submit("own"), placement.KindUnavailable)
		if !strings.Contains(e.What, "own") || e.Why != "connection refused" {
			t.Errorf("error %+v", e)
		}
		wantKind(t, submit("a b"), placement.KindInvalid)
		if err := submit("good"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > time.Millisecond {
			t.Errorf("took %s", took)
		}
		wantKind(t, <-hung, placement.KindUnavailable)
		if took := time.Since(begin); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("the hung look-up ended after %s", took)
		}
		if len(w.ledger.apps) != 1 {
			t.Errorf("%d apps stored, want 1", len(w.ledger.apps))
		}
	})
}

func TestClientMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		w.node("n01", takes)
		c, ctx := w.dial("client", nil), t.Context()
		var replicas []placement.Replica
		if err := c.Call(ctx, "remove", &replicas, placement.Filter{Owner: "alice", App: "shop"}); err != nil || replicas[0] != "alice/shop/web/1" {
			t.Errorf("remove: %v, %v", replicas, err)
		}
		for _, f := range []placement.Filter{{}, {Owner: "alice"}, {Owner: "alice", App: "shop", Node: "n01"}, {Owner: "a/b", App: "shop"}} {
			wantKind(t, c.Call(ctx, "remove", nil, f), placement.KindInvalid)
		}
		if err := c.Call(ctx, "retry", &replicas, placement.Filter{Replica: "alice/shop/web/2"}); err != nil || replicas[0] != "alice/shop/web/2" {
			t.Errorf("retry: %v, %v", replicas, err)
		}
		wantKind(t, c.Call(ctx, "retry", nil, placement.Filter{Replica: "alice/shop"}), placement.KindInvalid)
		var statuses []placement.Status
		if err := c.Call(ctx, "status", &statuses, placement.Filter{Owner: "bob"}); err != nil || statuses[0].Replica != "bob/shop/web/1" {
			t.Errorf("statuses: %v, %v", statuses, err)
		}
		wantKind(t, c.Call(ctx, "status", nil, placement.Filter{App: "*"}), placement.KindInvalid)
		var status placement.Status
		if err := c.Call(ctx, "explain", &status, placement.Replica("alice/shop/web/3")); err != nil || placement.Why(status) != "2 of 2 nodes: cpu" {
			t.Errorf("explain: %+v, %v", status, err)
		}
		wantKind(t, c.Call(ctx, "explain", nil, placement.Replica("alice/shop/web/0")), placement.KindInvalid)
		var registry string
		if err := c.Call(ctx, "registry", &registry); err != nil || registry != "http://r" {
			t.Errorf("registry: %q, %v", registry, err)
		}
		var info broadcaster.Info
		if err := c.Call(ctx, "info", &info); err != nil || info.Cluster != "c1" || info.Nodes != 2 || info.Ready != 1 || info.Mark.Rev != 3 || info.V != 1 {
			t.Errorf("info: %+v, %v", info, err)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, plainImages)
		c := w.dial("client", nil)
		s, err := c.Stream(t.Context(), "events", placement.Filter{Owner: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		for rev := range uint64(3) {
			var e placement.Event
			if err := s.Next(&e); err != nil || e.Rev != rev || e.Synced != (rev == 2) {
				t.Errorf("event %+v, %v", e, err)
			}
		}
		s.Close()
		bad, err := c.Stream(t.Context(), "events", placement.Filter{Owner: "a/b"})
		if err != nil {
			t.Fatal(err)
		}
		if err := bad.Next(&placement.Event{}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("got %v, want an error", err)
		}
	})
}

func TestNodeChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nodes(2), plainImages)
		w.node("n01", takes)
		c, ctx, yes := w.dial("client", nil), t.Context(), true
		var n placement.NodeStatus
		err := c.Call(ctx, "node_change", &n, placement.NodeChange{Node: "n01", Labels: map[string]string{"zone": "eu"}, Drain: &yes})
		if err != nil || n.Labels["zone"] != "eu" || n.State != placement.NodeDraining || n.Room.Capacity.CPU != 4000 {
			t.Errorf("got %+v, %v", n, err)
		}
		if err := c.Call(ctx, "node_change", &n, placement.NodeChange{Node: "n01", GiveUp: &yes}); err != nil || n.State != placement.NodeGivenUp {
			t.Errorf("got %+v, %v", n, err)
		}
		wantKind(t, c.Call(ctx, "node_change", nil, placement.NodeChange{Node: "n99", Drain: &yes}), placement.KindNotFound)
		for name, change := range map[string]placement.NodeChange{
			"nothing": {Node: "n01"},
			"node":    {Node: "", Drain: &yes},
			"label":   {Node: "n01", Labels: map[string]string{"zo ne": "eu"}},
			"value":   {Node: "n01", Labels: map[string]string{"zone": "e=u"}},
		} {
			t.Log(name)
			wantKind(t, c.Call(ctx, "node_change", nil, change), placement.KindInvalid)
		}
	})
}

// TestMethodsAreDocumented: people find them by `inspect`.
func TestMethodsAreDocumented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, plainImages)
		client, node := w.b.ClientMethods(), w.b.NodeMethods()
		for _, name := range []string{"submit", "remove", "retry", "status", "explain", "events", "nodes", "node_change", "registry", "info"} {
			if client[name].Doc == "" {
				t.Errorf("%s has no documentation", name)
			}
		}
		for _, name := range []string{"register", "bind", "failed", "progress"} {
			if node[name].Doc == "" || len(node[name].Args) != 1 {
				t.Errorf("%s has no documentation", name)
			}
		}
		for name := range client {
			if _, both := node[name]; both {
				t.Errorf("%s is in both tables", name)
			}
		}
	})
}
