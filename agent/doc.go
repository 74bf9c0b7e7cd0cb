// Package agent is the part of a node that admits placements and deploys them
// into its users' daemons. It owns every change that Longshore makes on a
// container of its node, and says so by (session, op).
//
// The path of an offer, each step with an undo:
//
//	Offer ── Admit, reserve ── wait 0-5 ms ── claim ──> "taken"          offer.go
//	          │                                └─ held elsewhere: pass
//	          v in the background
//	        daemon, pull; request file ── create, op ── expose            place.go
//	          ── op stored, bind ──┬─ yes:  start, op, release the claim  bind.go
//	                               ├─ wait: ask again
//	                               └─ no:   withdraw, remove, op, release
//
// A copy that exits is asked about in the same way (exits.go), a copy that the
// ledger orders away is stopped (stop.go), and one that was created but that
// nobody works on is removed (watch.go). At each start, on each new link and
// with each started ledger the agent registers (register.go).
//
// Invariants:
//   - op is stepped, and stored in the op file, after the change in Docker is
//     done and before the bind is sent (package opfile).
//   - A container is started only on an answer to the bind with the same
//     (session, op), less than 5 s after it was sent, in the session in which
//     it was sent, on a machine that did not sleep meanwhile.
//   - A copy that was bound is removed only by the ledger's word: an order, a
//     no, or a start that Docker refused.
//   - On one placement one task works at a time; a stop order ends any other.
//   - What is promised never exceeds the capacity: room is taken under one
//     mutex, before anything else, and given back when the copy is proven gone.
//   - The mutex guards fields for a few lines, never a call, a send or a wait.
//
// The state directory, 0700, kept by one agent at a time (flock on "lock"):
//
//	cluster       {v, cluster, node, mark}  the cluster that is served; synced
//	mark          {v, mark}                 the highest mark seen; not synced
//	ports         {v, copies}               host ports that running copies were given; synced
//	requests/HEX  a request by its digest, 0600, as long as a copy uses it
//
// All else is read again from Docker's labels at start.
package agent
