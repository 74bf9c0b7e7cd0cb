package faults_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// TestCheckerSeesRealHarm: on a real cluster, a healthy one gives no report;
// a second copy started by hand, one of the same epoch, a container removed
// behind Longshore's back and a placement dropped from the ledger are each
// reported. Who would repair the harm is stopped meanwhile.
func TestCheckerSeesRealHarm(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.PushHello("alice", "hello:latest")
	a := app{owner: "alice", name: "app", token: true}
	b := app{owner: "alice", name: "dropped"}
	digests := map[placement.Replica]string{}
	for _, a := range []app{a, b} {
		var answer placement.Submitted
		if err := c.Call("submit", &answer, a.version(1)); err != nil {
			t.Fatal(err)
		}
		for _, r := range a.replicas() {
			digests[r] = answer.Digests[r.Service()]
		}
	}
	watch := func(double, missing time.Duration) *cluster.Checker {
		k := cluster.NewChecker(cluster.Bounds{Double: double, Missing: missing})
		for r, digest := range digests {
			k.Want(time.Now(), r)
			k.WantRequest(digest, r)
		}
		k.WantApart("app-web", a.replicas()[perApp-3:]...)
		return k
	}
	healthy := watch(bound, missing)
	await(t, c, healthy)
	for range 3 {
		healthy.Observe(c.Look())
	}
	healthy.Final(c.Look(), c.Statuses(placement.Filter{}))
	judge(t, healthy)
	if t.Failed() {
		return
	}

	c.Broadcaster.Stop()
	for _, n := range c.Nodes {
		n.Agent.Stop()
		n.Hostinfo.Stop()
	}
	victim := find(t, c.Look(), a.replicas()[0]) // of job, which no token keeps apart
	beside := find(t, c.Look(), a.replicas()[perApp-1])
	if victim.Node == beside.Node {
		beside = find(t, c.Look(), a.replicas()[perApp-2])
	}

	byHand := map[string]string{
		"longshore.cluster": c.ID, "longshore.id": string(victim.ID), "longshore.node": victim.Node,
		"longshore.epoch": string(victim.Epoch), "longshore.digest": victim.Digest,
	}
	same := run(t, beside, byHand)
	expect(t, c, watch(bound, missing), cluster.Double, "two copies in one epoch: "+string(victim.ID))
	erase(t, beside.Socket, same)

	byHand["longshore.epoch"] = strings.Repeat("f", 20)
	second := run(t, beside, byHand)
	expect(t, c, watch(time.Second, missing), cluster.Double, "two copies of "+string(victim.ID.Replica()))
	erase(t, beside.Socket, second)

	byHand["longshore.id"], byHand["longshore.epoch"] = "alice/gone/web/1."+string(victim.Epoch), string(victim.Epoch)
	zombie := run(t, beside, byHand)
	removed := watch(time.Second, missing)
	removed.Unwant(time.Now(), "alice/gone/web/1")
	expect(t, c, removed, cluster.Zombie, "alice/gone/web/1 was removed")
	erase(t, beside.Socket, zombie)

	byHand["longshore.id"] = string(find(t, c.Look(), a.replicas()[perApp-3]).ID)
	byHand["longshore.id"] = strings.Replace(byHand["longshore.id"], "web/1.", "web/9.", 1)
	crowd := run(t, beside, byHand)
	together := watch(time.Second, missing)
	together.WantApart("app-web", "alice/app/web/9")
	expect(t, c, together, cluster.Double, "ha_token app-web on "+beside.Node)
	erase(t, beside.Socket, crowd)

	erase(t, victim.Socket, victim.Container)
	expect(t, c, watch(bound, time.Second), cluster.Lost, string(victim.ID.Replica())+" is wanted and was not seen")

	dropped(t, c, watch(bound, missing), b)
}

// dropped: the ledger no longer knows an app that the test wants and that runs
// on; nobody tells the checker.
func dropped(t *testing.T, c *cluster.Cluster, k *cluster.Checker, b app) {
	t.Helper()
	c.Broadcaster.Start()
	cluster.Eventually(t, 10*time.Second, "the broadcaster takes a removal", func() error {
		return c.Call("remove", nil, placement.Filter{Owner: b.owner, App: b.name})
	})
	k.Final(c.Look(), c.Statuses(placement.Filter{}))
	for _, r := range b.replicas() {
		if want := fmt.Sprintf("the ledger has dropped %s", r); !strings.Contains(strings.Join(k.Violations(), "\n"), want) {
			t.Errorf("not reported: %s; reported: %q", want, k.Violations())
		}
		find(t, c.Look(), r) // runs on: it is the ledger alone that forgot
	}
}

// expect looks until something is reported: one thing, of this kind, with this
// text.
func expect(t *testing.T, c *cluster.Cluster, k *cluster.Checker, kind, want string) {
	t.Helper()
	cluster.Eventually(t, 10*time.Second, "the checker reports "+want, func() error {
		k.Observe(c.Look())
		if len(k.Found()) == 0 {
			return fmt.Errorf("nothing is reported")
		}
		return nil
	})
	if found := k.Found(); len(found) != 1 || found[0].Kind != kind || !strings.Contains(found[0].Text, want) {
		t.Errorf("reported %q, not one %s with %q", found, kind, want)
	}
	t.Logf("reported: %s", k.Violations())
}

// find the running copy of a replica.
func find(t *testing.T, o cluster.Observation, r placement.Replica) cluster.Sighting {
	t.Helper()
	copies := o.Copies(r)
	if len(copies) != 1 {
		t.Fatalf("%d copies of %s run: %+v", len(copies), r, o)
	}
	return copies[0]
}

// run starts a container by hand, of the image and beside the copy that is
// given, and returns its ID.
func run(t *testing.T, beside cluster.Sighting, labels map[string]string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	docker, err := cluster.Docker(beside.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	have, err := docker.ContainerInspect(ctx, beside.Container)
	if err != nil {
		t.Fatal(err)
	}
	made, err := docker.ContainerCreate(ctx,
		&container.Config{Image: have.Image, Labels: labels}, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := docker.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// erase removes a container by hand.
func erase(t *testing.T, socket, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	docker, err := cluster.Docker(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	if err := docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}
