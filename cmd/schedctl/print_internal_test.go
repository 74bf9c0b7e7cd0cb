package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longshore/internal/placement"
	"longshore/rpc"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	ports := []placement.Port{{Host: 8080, Container: 80}, {Container: 9}, {Host: 53, Container: 53, Proto: "udp"}}
	for want, s := range map[string]placement.Status{
		"waiting":                       {State: placement.Pending},
		"waiting: 3 of 3 nodes: cpu":    {State: placement.Pending, Why: "3 of 3 nodes: cpu"},
		"waiting, pulling":              {State: placement.Pending, Phase: "pulling", Why: "3 of 3 nodes: cpu"},
		"starting on n1":                {State: placement.Bound, Node: "n1", Phase: "starting"},
		"running on n1":                 {State: placement.Running, Node: "n1", Phase: "starting"},
		"failed: no such image":         {State: placement.Dead, Why: "no such image"},
		"done on n2: ended with code 3": {State: placement.Done, Node: "n2", Why: "ended with code 3"},
		"running on n1 (10.0.0.1:8080->80, 10.0.0.1:53->53/udp)": {State: placement.Running, Node: "n1", Address: "10.0.0.1", Ports: ports},
	} {
		if got := describe(s); got != want {
			t.Errorf("%+v\n is described %q, not %q", s, got, want)
		}
	}
}

func TestDoing(t *testing.T) {
	for want, s := range map[string]placement.Status{
		"pulling 3 of 80 MB": {State: placement.Pending, Phase: "pulling 3 of 80 MB", Why: "3 of 3 nodes: cpu"},
		"":                   {State: placement.Bound, Phase: "starting"},
	} {
		if got := doing(s); got != want {
			t.Errorf("%+v: doing %q, want %q", s, got, want)
		}
	}
	if got := doing(placement.Status{State: placement.Running, Phase: "binding"}); got != "" {
		t.Errorf("a running copy is at %q", got)
	}
}

func TestExplained(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := app{stdout: &out}
	a.explained(placement.Status{
		Replica: "al/shop/web/4", State: placement.Pending, Why: "3 of 3 nodes: memory", Image: "al/x@sha256:1",
		Needs: placement.Resources{CPU: 250, Memory: 2 << 30}, Since: placement.Millis(400), Tries: 7, NextTry: placement.Millis(8250),
		Refusals: []placement.Refusal{
			{Reason: placement.Reason{Code: placement.ReasonMemory, Need: "2 GiB", Have: "1.2 GiB"}, Nodes: 2, Names: []placement.NodeID{"n1", "n2"}},
			{Reason: placement.Reason{Code: placement.ReasonDraining}, Nodes: 1, Names: []placement.NodeID{"n3"}},
		},
	})
	want := `al/shop/web/4: waiting, for less than a second
  why:    3 of 3 nodes: memory
  image:  al/x@sha256:1
  needs:  0.25 cpu, 2GiB memory
  nodes:  3, try 7
  - 2 of 3: ` + placement.Reason{Code: placement.ReasonMemory, Need: "2 GiB", Have: "1.2 GiB"}.String() + ` (n1, n2)
  - 1 of 3: ` + placement.Reason{Code: placement.ReasonDraining}.String() + ` (n3)
  next:   in 8.2 s, or as soon as a node reports more room
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"less than a second": age(placement.Millis(10)),
		"2 hours":            age(placement.Millis((2 * time.Hour).Milliseconds())),
		"1 node":             counted(1, "node"),
		"0 nodes":            counted(0, "node"),
		"the node's default": needs(placement.Resources{}),
		"1.5":                cores(1500),
		"al/x@0123456789ab":  shortImage("al/x@sha256:0123456789abcdef"),
		"busybox":            shortImage("busybox"),
		"rack=7,zone=a":      labels(map[string]string{"zone": "a", "rack": "7", "arch": "amd64"}),
		"2 running, 1 waiting (old)": count([]placement.Status{
			{State: placement.Running, Wanted: true}, {State: placement.Pending}, {State: placement.Running, Wanted: true},
		}),
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// Every line that --json prints is an object of its own.
func TestListJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := app{stdout: &out, json: true}
	statuses := []placement.Status{{Replica: "al/a/b/1", State: placement.Running, Wanted: true}, {Replica: "al/a/b/2", Why: "a\nb"}}
	a.list(statuses)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(statuses) {
		t.Fatalf("%d lines:\n%s", len(lines), &out)
	}
	for i, line := range lines {
		var got placement.Status
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(statuses[i], got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	a := app{owner: "al"}
	for _, c := range []struct {
		parse func(string) (placement.Filter, error)
		arg   string
		want  placement.Filter
		bad   bool
	}{
		{parse: a.appFilter, arg: "shop", want: placement.Filter{Owner: "al", App: "shop"}},
		{parse: a.appFilter, arg: "bob/shop", want: placement.Filter{Owner: "bob", App: "shop"}},
		{parse: a.appFilter, arg: "bob/shop/web", bad: true},
		{parse: a.appFilter, arg: "", bad: true},
		{parse: a.appFilter, arg: "/shop", bad: true},
		{parse: a.replicaFilter, arg: "shop/web/2", want: placement.Filter{Owner: "al", App: "shop", Replica: "al/shop/web/2"}},
		{parse: a.replicaFilter, arg: "bob/shop/web/2", want: placement.Filter{Owner: "bob", App: "shop", Replica: "bob/shop/web/2"}},
		{parse: a.replicaFilter, arg: "shop/web", bad: true},
		{parse: a.replicaFilter, arg: "shop/web/0", bad: true},
		{parse: a.replicaFilter, arg: "shop/web/-1", bad: true},
		{parse: a.replicaFilter, arg: "a/b/c/1/2", bad: true},
	} {
		got, err := c.parse(c.arg)
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%q is read as %+v, %v", c.arg, got, err)
		}
		if c.bad && report(&bytes.Buffer{}, err) != exitUsage {
			t.Errorf("%q is no mistake of the user's: %v", c.arg, err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk full"), exitFailure},
		{usage("next", "what"), exitUsage},
		{&placement.Error{Kind: placement.KindRefused, What: "no"}, exitFailure},
		{&rpc.RemoteError{Name: placement.KindInvalid, Message: "bad app"}, exitUsage},
		{&rpc.RemoteError{Name: placement.KindNotFound, Message: "no app"}, exitFailure},
		{fmt.Errorf("call: %w", rpc.ErrLostRemote), exitUnreachable},
		{fmt.Errorf("call: %w", rpc.ErrTimeout), exitUnreachable},
		{&exitError{exitPending, usage("next", "what")}, exitPending},
		{&exitError{code: exitInterrupted}, exitInterrupted},
	} {
		var out bytes.Buffer
		if got := report(&out, c.err); got != c.want {
			t.Errorf("%v: exit code %d, not %d", c.err, got, c.want)
		}
	}
	var out bytes.Buffer
	report(&out, &rpc.RemoteError{Name: placement.KindRefused, Message: "no\nwhy: full\nnext: wait"})
	if want := "schedctl: no\n  why: full\n  next: wait\n"; out.String() != want {
		t.Errorf("said %q, not %q", out.String(), want)
	}
}

func TestCheckPrograms(t *testing.T) {
	t.Parallel()
	if err := checkPrograms("sh", "ip"); err != nil {
		t.Error(err)
	}
	err := checkPrograms("sh", "no-such-program", "nor-this")
	if err == nil || !strings.Contains(err.Error(), "no-such-program, nor-this") || !strings.Contains(err.Error(), "make setup") {
		t.Error(err)
	}
}

func TestInterruptedAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if code := run(ctx, []string{"--endpoint", "tcp://127.0.0.1:1", "ps"}, nil, &out, &out); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, &out)
	}
}
