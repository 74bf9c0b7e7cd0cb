package agent_test

import (
	"errors"
	"slices"
	"testing"

	"longshore/internal/placement"
)

// TestPortsOfARunningCopy: a port is added, held against others, kept over a
// restart of the agent, and gone with the copy.
func TestPortsOfARunningCopy(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.t.Context()
		if _, err := w.agent.AddPort(ctx, web1, placement.Port{Container: 80}); kindOf(err) != placement.KindRefused {
			t.Errorf("a port of no copy: %v", err)
		}
		w.running(web1, request())
		w.log.take()
		first, err := w.agent.AddPort(ctx, web1, placement.Port{Container: 80})
		if err != nil || first.Host < 20_000 || first.Proto != "tcp" {
			t.Fatalf("added %+v, %v", first, err)
		}
		if again, err := w.agent.AddPort(ctx, web1, placement.Port{Container: 80}); err != nil || again != first {
			t.Errorf("added again %+v, %v", again, err)
		}
		second, err := w.agent.AddPort(ctx, web1, placement.Port{Container: 53, Host: 53, Proto: "udp"})
		if err != nil {
			t.Fatal(err)
		}

		web2 := placement.NewReplica("alice", "shop", "web", 2).Placement(web1.Life())
		other := withPort() // of the app's own wish
		other.Ports = []placement.Port{{Container: 80, Host: first.Host}}
		answer := w.offer(web2, other)
		if answer.Taken || answer.Reason.Code != placement.ReasonHostPort {
			t.Errorf("an offer that wants its port: %+v", answer)
		}
		if r := w.agent.Refusals(); len(r) != 1 || r[0].ID != web2 || r[0].Reason != answer.Reason {
			t.Errorf("refusals: %+v", r)
		}

		w.stop()
		w.start()
		want := []placement.Published{{ID: web1, Port: first, Late: true}, {ID: web1, Port: second, Late: true}}
		if got := w.agent.Published(); !slices.Equal(got, want) {
			t.Errorf("after a restart %+v, want %+v", got, want)
		}
		if !w.ports.open[web1] {
			t.Error("the ports of a running copy are not exposed again")
		}

		if err := w.agent.RemovePort(ctx, web1, placement.Port{Host: 53, Proto: "udp"}); err != nil {
			t.Error(err)
		}
		if err := w.agent.RemovePort(ctx, web1, placement.Port{Host: 53, Proto: "udp"}); kindOf(err) != placement.KindNotFound {
			t.Errorf("removed twice: %v", err)
		}
		if got := w.agent.Published(); !slices.Equal(got, want[:1]) {
			t.Errorf("after a removal %+v", got)
		}
		if c := w.agent.Capacity(); len(c.Owners) != 1 || c.Owners[0].Promised.Memory != gib || c.Free != c.Room.Free() {
			t.Errorf("capacity %+v", c)
		}
		order := placement.StopOrder{Mark: w.ledger.now(), Cluster: "c1", ID: web1, Epoch: epoch(1), Why: "stopped by operator/bob"}
		if err := w.agent.StopNow(ctx, order); err != nil || w.docker.state(web1) != "" {
			t.Errorf("stopped: %v, and it is %q", err, w.docker.state(web1))
		}
		if w.ports.open[web1] || len(w.agent.Published()) != 0 {
			t.Error("its ports stay behind")
		}
		w.running(web1, request())
		if got := w.agent.Published(); len(got) != 0 {
			t.Errorf("its next copy has %+v", got)
		}
	})
}

// TestPortThatAProgramHas: the agent chooses another, and gives back what it
// could not have.
func TestPortThatAProgramHas(t *testing.T) {
	inWorld(t, func(w *world) {
		w.running(web1, request())
		w.ports.err = &placement.Error{Kind: placement.KindRefused, What: "a program on the host listens there"}
		if _, err := w.agent.AddPort(w.t.Context(), web1, placement.Port{Container: 80, Host: 8080}); kindOf(err) != placement.KindRefused {
			t.Errorf("a port that a program has: %v", err)
		}
		if _, err := w.agent.AddPort(w.t.Context(), web1, placement.Port{Container: 80}); kindOf(err) != placement.KindRefused {
			t.Errorf("a node without free ports: %v", err)
		}
		if got := w.agent.Published(); len(got) != 0 {
			t.Errorf("published %+v", got)
		}
	})
}

func kindOf(err error) string {
	var e *placement.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Kind
}
