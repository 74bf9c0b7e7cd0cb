// Package sim is one more wiring beside the mains: the production broadcaster,
// ledger, agents and hostinfos of a whole cluster in one testing/synctest
// bubble, where half an hour takes seconds and a seed is a reproduction.
//
// Only the outside world is simulated: the network (net.go, an rpc.Transport),
// the users' Docker daemons (runtime.go), the claims (claims.go), the ledger's
// disk (disk.go) and the processes that crash (proc.go).
//
// Invariants:
//   - Whatever the outside world does leaves one goroutine, [engine.run], as
//     deliveries ordered by (time, seeded key), one per virtual nanosecond: all
//     that a delivery leads to is through before the next.
//   - What is random is a hash of (seed, who, what, when), never drawn from a
//     shared source, so that it does not depend on who asks first.
//   - The state of the outside world belongs to the deliveries: it is read and
//     changed in that one goroutine, without a lock.
//   - A process that was killed has no effect any more: its calls fail, its
//     connections are cut and its files are out of its reach, while what it had
//     handed to Docker or to the network may still happen.
//   - The judge (judge.go, final.go) believes only the outside world: what runs
//     in the daemons, and what the ledger has committed.
package sim
