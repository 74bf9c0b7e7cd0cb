// Package dockerd keeps the Docker daemons of one node, one for each owner, and
// fences Docker in: nothing else in Longshore talks to it.
//
// It owns, for each owner on first use, a dockerd with its own data-root,
// exec-root, socket, containerd, bridge network and cgroup parent; in it one
// net container (a static pause) with a fixed address, whose network namespace
// the owner's containers join; and the containers of placements.
//
//	                     Ensure                    process gone, stream broken,
//	  absent ----------> starting ------> ready ---- ping silent, net died
//	                       ^  | failed      ^              |
//	                       |  v             | repaired     v
//	                       degraded <-------+---------- degraded
//	any --- Run ends ---> stopping --> absent (daemon and containers stay up)
//
// One goroutine per daemon, owned by [Host.Run], moves it through these states.
// Each repair is an idempotent "ensure" of everything from the directories up,
// so that it does not matter where the last one was interrupted.
//
// On disk and tmpfs, <id> being [ShortID] of (cluster, node, owner):
//
//	StateDir/daemons/<id>/owner        the owner's name, durable before dockerd starts
//	StateDir/daemons/<id>/lock         flock of the process that runs the Host
//	StateDir/daemons/<id>/daemon.json  {} (the machine's own /etc/docker is not read)
//	StateDir/daemons/<id>/dockerd.log
//	StateDir/daemons/<id>/g            data-root; g/longshore-root is its identity
//	RunDir/<node id>/<id>/d.sock       API
//	RunDir/<node id>/<id>/d.pid
//	RunDir/<node id>/<id>/x            exec-root
//
// Container labels: longshore.v (format), .cluster, .node, .id, .epoch, .gen,
// .digest (of the request), .cpu, .memory, .disk (reserved). Net containers
// bear longshore.net ("shared" or "replica") instead of an id.
//
// Invariants:
//   - A container's name is derived from its placement alone, so one daemon
//     never holds two of a placement.
//   - Docker restarts nothing by itself, and a net container is started again,
//     never replaced: the joined ones name it by its id.
//   - A daemon that could not be listed is reported as such, never as empty.
//   - Daemons and containers outlive this process; only [Host.Destroy] ends
//     them.
//   - No lock is held across a call to Docker; a slow owner delays no other.
//   - What people do inside (exec, logs, files, measures) reaches copies alone,
//     found by their labels: never a net container, never a stranger.
package dockerd
