package faults_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"longshore/test/cluster"
)

// seenWithin is how soon what was done behind Longshore's back has to be seen:
// a report period, and a minute for machines that others use, too.
const seenWithin = 5*time.Second + time.Minute

// behindKinds: what people do with docker on a node, without Longshore.
func behindKinds() []kind {
	return []kind{
		{row: "docker stop", times: 8, inject: byDocker(func(ctx context.Context, d *client.Client, id string) error {
			return d.ContainerStop(ctx, id, container.StopOptions{})
		})},
		{row: "docker kill", times: 8, inject: byDocker(func(ctx context.Context, d *client.Client, id string) error {
			return d.ContainerKill(ctx, id, "KILL")
		})},
		{row: "docker rm -f", times: 8, inject: byDocker(func(ctx context.Context, d *client.Client, id string) error {
			return d.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
		})},
		{row: "docker restart", times: 6, inject: byDocker(func(ctx context.Context, d *client.Client, id string) error {
			return d.ContainerRestart(ctx, id, container.StopOptions{})
		})},
		{row: "docker rename", times: 6, inject: byDocker(func(ctx context.Context, d *client.Client, id string) error {
			return d.ContainerRename(ctx, id, "mine-"+id[:12])
		})},
		{row: "docker update", times: 6, still: true, inject: byDocker(func(ctx context.Context, d *client.Client, id string) error {
			_, err := d.ContainerUpdate(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: 64 << 20, MemorySwap: 64 << 20}})
			return err
		})},
		{row: "docker pause 10 s", times: 6, still: true, inject: pausedByHand},
		{row: "docker run of a stranger", times: 6, still: true, inject: stranger},
		{row: "docker run with another's labels", times: 6, still: true, inject: forged},
		{row: "all containers of a daemon removed", times: 3, inject: allRemoved},
	}
}

// docker is a client of the daemon with this socket, until the end of the row.
func (s *stage) docker(socket string) *client.Client {
	s.t.Helper()
	docker, err := cluster.Docker(socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { docker.Close() })
	return docker
}

// victim is a running copy of the quiet app, by chance.
func (s *stage) victim() cluster.Sighting {
	s.t.Helper()
	running := slices.DeleteFunc(s.c.Look().Seen, func(seen cluster.Sighting) bool {
		return !seen.Running || seen.ID.Replica().App() != quiet
	})
	if len(running) == 0 {
		s.t.Fatal("no copy of the quiet app runs")
	}
	slices.SortFunc(running, func(a, b cluster.Sighting) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return running[s.rand.IntN(len(running))]
}

func byDocker(do func(context.Context, *client.Client, string) error) func(*stage) func() {
	return func(s *stage) func() {
		seen := s.victim()
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		defer cancel()
		if err := do(ctx, s.docker(seen.Socket), seen.Container); err != nil {
			s.t.Fatal(err)
		}
		return nil
	}
}

// pausedByHand: it is there, and the ledger keeps it.
func pausedByHand(s *stage) func() {
	seen := s.victim()
	docker := s.docker(seen.Socket)
	if err := docker.ContainerPause(s.ctx, seen.Container); err != nil {
		s.t.Fatal(err)
	}
	s.lasts(10 * time.Second)
	return func() {
		if err := docker.ContainerUnpause(s.ctx, seen.Container); err != nil {
			s.t.Error(err)
		}
	}
}

// create starts a container of the victim's image by hand.
func (s *stage) create(beside cluster.Sighting, labels map[string]string) (remove func()) {
	s.t.Helper()
	docker := s.docker(beside.Socket)
	have, err := docker.ContainerInspect(s.ctx, beside.Container)
	if err != nil {
		s.t.Fatal(err)
	}
	made, err := docker.ContainerCreate(s.ctx, &container.Config{Image: have.Image, Labels: labels},
		&container.HostConfig{NetworkMode: "none", Resources: container.Resources{Memory: 32 << 20}}, nil, nil, "")
	if err == nil {
		err = docker.ContainerStart(s.ctx, made.ID, container.StartOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return func() {
		have, err := docker.ContainerInspect(s.ctx, made.ID)
		if err != nil || !have.State.Running {
			s.t.Errorf("a container that Longshore does not know was touched: %v", err)
		}
		if err := docker.ContainerRemove(s.ctx, made.ID, container.RemoveOptions{Force: true}); err != nil {
			s.t.Error(err)
		}
	}
}

// stranger: a container that is none of Longshore's takes room, and is let be.
func stranger(s *stage) func() {
	remove := s.create(s.victim(), nil)
	s.lasts(6 * time.Second)
	return remove
}

// forged: a container with labels of a placement that nobody asked for is
// shown, and let be.
func forged(s *stage) func() {
	seen := s.victim()
	id := strings.Replace(string(seen.ID), quiet, "forged", 1)
	have, err := s.docker(seen.Socket).ContainerInspect(s.ctx, seen.Container)
	if err != nil {
		s.t.Fatal(err)
	}
	labels := maps.Clone(have.Config.Labels)
	labels["longshore.id"] = id
	remove := s.create(seen, labels)
	began := time.Now()
	cluster.Eventually(s.t, seenWithin, "node show names it", func() error {
		status, err := s.status(seen.Node)
		if err == nil && !strings.Contains(strings.Join(status.Unknown, " "), id) {
			err = fmt.Errorf("it names %q", status.Unknown)
		}
		return err
	})
	s.longest("shown after", time.Since(began))
	return remove
}

// allRemoved: everything that an owner has on a node.
func allRemoved(s *stage) func() {
	seen := s.victim()
	docker := s.docker(seen.Socket)
	for _, other := range s.c.Look().Seen {
		if other.Socket == seen.Socket {
			_ = docker.ContainerRemove(s.ctx, other.Container, container.RemoveOptions{Force: true}) // it may have ended
		}
	}
	return nil
}
