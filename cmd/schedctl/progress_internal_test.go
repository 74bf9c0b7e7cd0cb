package main

import (
	"errors"
	"testing"

	"longshore/internal/placement"
)

// look is what one event brings: the state of a replica's life.
func look(replica string, life string, digest string, state placement.State) placement.Event {
	return placement.Event{Status: placement.Status{
		Replica: placement.Replica(replica), ID: placement.ID(replica + "." + life), Digest: digest, State: state, Wanted: true,
	}}
}

func watched() *progress {
	return newProgress(
		placement.App{Owner: "al", Name: "shop", Services: []placement.Service{{Name: "web", Replicas: 2}}},
		placement.Submitted{Owner: "al", App: "shop", Digests: map[string]string{"web": "new"}, Removed: []placement.Replica{"al/shop/old/1"}},
	)
}

func TestProgressToTheEnd(t *testing.T) {
	t.Parallel()
	p := watched()
	for i, step := range []struct {
		event placement.Event
		show  bool
		says  string
	}{
		{look("al/shop/web/1", "1", "old", placement.Running), false, "0 of 2 running"}, // is to be replaced
		{look("al/shop/web/2", "1", "old", placement.Running), false, "0 of 2 running"},
		{placement.Event{Synced: true}, false, "0 of 2 running"},
		{look("al/other/web/1", "1", "new", placement.Running), false, "0 of 2 running"}, // another app
		{look("al/shop/web/1", "2", "new", placement.Pending), true, "0 of 2 running"},
		{look("al/shop/web/1", "2", "new", placement.Pending), false, "0 of 2 running"}, // nothing new
		{look("al/shop/web/1", "2", "new", placement.Running), true, "1 of 2 running"},
		{look("al/shop/old/1", "1", "x", placement.Cancelled), true, "1 of 2 running"},
		{look("al/shop/web/2", "2", "new", placement.Running), true, "2 of 2 running"},
	} {
		if p.finished() {
			t.Errorf("step %d: it is finished before", i)
		}
		if show := p.apply(step.event); show != step.show {
			t.Errorf("step %d: shown: %t", i, show)
		}
		if p.String() != step.says {
			t.Errorf("step %d: %q", i, p)
		}
	}
	if !p.finished() || p.verdict() != nil {
		t.Errorf("finished %t, verdict %v", p.finished(), p.verdict())
	}
}

func TestProgressThatFails(t *testing.T) {
	t.Parallel()
	p := watched()
	dead := look("al/shop/web/1", "1", "new", placement.Dead)
	dead.Why = "no such image"
	done := look("al/shop/web/2", "1", "new", placement.Done)
	done.ExitCode = 3
	p.apply(dead)
	if p.finished() {
		t.Error("it is finished with one of two")
	}
	if p.why() != "al/shop/web/1: no such image" {
		t.Errorf("why: %s", p.why())
	}
	p.apply(done)
	err := p.verdict()
	var told *placement.Error
	if !p.finished() || !errors.As(err, &told) {
		t.Fatalf("finished %t, verdict %v", p.finished(), err)
	}
	if told.What != "0 of 2 running, 1 done, 1 failed" || told.Why != "al/shop/web/1: no such image; al/shop/web/2 ended with exit code 3" {
		t.Errorf("%+v", told)
	}
}

func TestCrashing(t *testing.T) {
	t.Parallel()
	p := watched()
	p.apply(look("al/shop/web/1", "1", "new", placement.Pending))
	if p.crashing() {
		t.Error("what only waits counts as crashing")
	}
	again := look("al/shop/web/1", "1", "new", placement.Pending)
	again.ExitCode = 1
	p.apply(again)
	if !p.crashing() {
		t.Error("what ended with an error and waits again does not count as crashing")
	}
}
