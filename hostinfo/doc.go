// Package hostinfo knows what runs where, and who has fallen silent.
//
// It has two halves, in different processes:
//
//	node                                   broadcaster
//	Watcher                                Collector               Sweeper
//	 Docker events --> report (one copy) --> ledger.Report            | each second
//	 op file, list --> report (complete) -->  last room, listing  <---+ snapshot
//	 each second   --> beat             -->   last word per role      | Decide (pure)
//	                                          Nodes(): what people    | TCP probe
//	                                          and samples see         +-> ledger.Lose
//
// Invariants of the [Watcher]:
//   - It subscribes to events first and lists then; whenever the stream broke
//     it lists again. An event speaks for its container alone; only a complete
//     listing can show absence.
//   - A complete report carries the (session, op) that was read from the
//     agent's file before the listing began, and a listing is sent only on a
//     link that was opened before it began. An event carries the (session, op)
//     of the last listing begun before it, so never one newer than what it
//     shows.
//   - Nothing that could not be sent is queued: the next listing carries all.
//   - It compares nothing with what it remembers of the containers. What was
//     lost is decided by the ledger, which compares with what it believes.
//
// Invariants of the [Collector]:
//   - It judges no copy: every report goes to the ledger, and stop orders that
//     the ledger gives go to the node's agent. Orders are not queued beyond the
//     try; the node's next listing makes the ledger give them again.
//   - Reports of different nodes never wait for one another.
//   - All it keeps is in memory, and is heard again within a report period.
//
// Invariants of the [Sweeper]:
//   - Its every decision is [Decide], a pure function of a [Snapshot]; it gives
//     nothing up while it suspects itself (its own clock stood still, its
//     ledger fails, it hears nobody, it has just begun), and all silences then
//     begin again.
//   - It tells the ledger how long a node, or one owner's daemon, has been
//     silent. Which placements that ends is the ledger's to say.
//
// No mutex here is held across a call, a send or a wait.
package hostinfo
