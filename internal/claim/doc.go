// Package claim keeps the claims of nodes on placements: which node prepares
// which placement at which epoch. A claim makes agents race cheaply; it keeps
// two nodes from pulling and creating the same thing. It is no safety device:
// the ledger's bind is, so a table that forgets everything costs time and
// nothing else.
//
// One claim is one record, {epoch, node} with a time to live, under one key:
//
//	longshore:1:claim:{CLUSTER/OWNER/APP/SERVICE/N.LIFE}
//
// What is granted:
//
//	record                       asked by (e, node)
//	none, or expired             granted
//	epoch below e                granted: the newer life takes over
//	epoch e, the same node       granted: the time to live begins again
//	epoch e, another node        refused, with the holder
//	epoch above e                refused, with the holder
//
// [Redis] does this in a Redis server, [Table] within one process; package
// claimtest holds the suite that both pass. [Server] runs a redis-server of
// one's own, for a cluster on one machine.
//
// Invariants:
//   - A transition is one script on one key, so it is atomic and stays in one
//     slot of a Redis Cluster.
//   - Time is the table's own (the server's): no caller's clock is compared.
//   - Epochs are compared as text, which for fixed-width hex is number order;
//     as numbers they would not fit Lua's 53 bits.
//   - No record outlives its last grant by more than the time to live. That is
//     all that "overdue" needs: an agent without progress for 10 minutes stops
//     renewing, and the record ends by itself.
package claim
