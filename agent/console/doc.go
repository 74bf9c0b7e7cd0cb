// Package console is what people and scripts do to the containers of one node:
// look at them, read their logs, run commands in them, copy files, publish
// ports, start and stop them. agentd serves it on the node's socket, where it
// works with broadcaster and Redis gone, and on its link to the broadcaster.
//
// A container is named by its replica, OWNER/APP/SERVICE/N, by its placement,
// OWNER/APP/SERVICE/N.LIFE, or by the name it has in Docker. Only copies of
// Longshore can be named: no net container, nothing that somebody ran by hand.
//
// Invariants:
//   - A caller of the role user sees and touches only what they own.
//   - What is started, stopped, created or destroyed here is the ledger's wish
//     first (placement.Wish), so that no failover undoes it; without an answer
//     from the broadcaster it is refused. All else asks nobody.
//   - A slow caller holds up their own call alone. What one call may keep in
//     memory is bounded.
//   - Text of programs travels as str where it is UTF-8 and as bin elsewhere.
package console
