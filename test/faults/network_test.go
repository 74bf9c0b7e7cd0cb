package faults_test

import (
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// Clusters whose nodes are machines, each with a network of its own.
var (
	machines     = cluster.Options{Nodes: 4, Machines: true}
	sixMachines  = cluster.Options{Nodes: 6, Machines: true}
	cutForGood   = 45 * time.Second // beyond the time after which a node is lost
	onAndOff     = 3 * time.Second
	flapsAMinute = 10
)

// networkKinds: packets that do not arrive. The nodes and what they run live
// on.
func networkKinds() []kind {
	return []kind{
		{row: "node cut off 10 s", times: 6, busy: true, still: true, options: machines, inject: cutOff(10*time.Second, true, true)},
		{row: "node hears nothing 10 s", times: 6, busy: true, still: true, options: machines, inject: cutOff(10*time.Second, true, false)},
		{row: "node is not heard 10 s", times: 6, busy: true, still: true, options: machines, inject: cutOff(10*time.Second, false, true)},
		{row: "node cut off until it is lost", times: 2, live: true, options: machines, inject: lost(true, true)},
		{row: "node hears nothing until it is lost", times: 2, live: true, options: machines, inject: lost(true, false)},
		{row: "node is not heard until it is lost", times: 2, live: true, options: machines, inject: lost(false, true)},
		{row: "flapping link, 3 s off, 3 s on, 1 min", times: 2, busy: true, still: true, options: machines, inject: flapping},
		{row: "five of six nodes cut off 45 s", times: 1, still: true, options: sixMachines, inject: massCut},
	}
}

func cutOff(d time.Duration, in, out bool) func(*stage) func() {
	return func(s *stage) func() {
		n := s.node()
		s.cut(n)
		n.Drop(in, out)
		s.lasts(d)
		return func() { n.Pass(); s.uncut() }
	}
}

// lost: its copies start elsewhere, and when it comes back its own are stopped.
func lost(in, out bool) func(*stage) func() {
	return func(s *stage) func() {
		n := s.node()
		s.cut(n)
		n.Drop(in, out)
		took := s.see("the node is lost", func() error {
			status, err := s.status(n.Name)
			if err == nil && status.State != placement.NodeLost {
				err = errNotYet
			}
			return err
		})
		s.longest("lost after", took)
		return func() { n.Pass(); s.uncut() }
	}
}

func flapping(s *stage) func() {
	n := s.node()
	for range flapsAMinute {
		s.cut(n)
		n.Drop(true, true)
		s.lasts(onAndOff)
		n.Pass()
		s.uncut()
		s.lasts(onAndOff)
	}
	return nil
}

// massCut: so many at once are more likely the broadcaster's own trouble.
// Nothing is moved.
func massCut(s *stage) func() {
	away := s.c.Nodes[1:]
	s.cut(away...)
	for _, n := range away {
		n.Drop(true, true)
	}
	s.lasts(cutForGood)
	return func() {
		for _, n := range away {
			n.Pass()
		}
		s.uncut()
	}
}
