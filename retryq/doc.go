// Package retryq is the ledger: it remembers what every owner wants, which node
// may run which placement, and what waits. Claims only keep nodes out of each
// other's way; a bind of the ledger is what makes it safe to start a copy.
//
// It owns the durable records and every transition of a placement:
//
//	         Submit                Bind: yes          Report
//	(wish) ---------> PENDING ---------------> BOUND --------> RUNNING
//	                   ^  ^ ^ \                  |                |
//	                   |  | |  +-- deadline      |                +-- Bind{Exit} --> DONE
//	              Retry|  | +---- Report: absent, Failed, Lose, start timeout
//	                   |  +------ adopted again: Report, Bind of what was given up
//	                 DEAD
//	any --- Remove, update, scale-down, Destroy ---> CANCELLED --- proven gone ---> tombstone
//	PENDING, BOUND, RUNNING, DEAD --- Stop ---> DONE --- Start ---> PENDING, on its node
//
// The package rule holds each transition as a pure function. A method of
// [Ledger] reads records, calls one, commits the result with a compare on every
// record that was read, and tries again when another was faster. Nothing is
// answered before it is durable; only RUNNING, which reports give again, is
// written behind. One transaction is one write of the [Store] (boltstore,
// memstore), of at most [MaxOps] changes.
//
// # Wishes about one replica
//
// The last word counts, and it lasts until the next one about the same thing.
// Stop makes a placement DONE ("stopped by"): its copy is stopped and removed,
// its room and HA slot are free when that is proven gone or its node is away.
// Start lets it wait again, for the node where it was alone, as long as that is
// neither lost, given up nor draining; Retry lets it wait for any. Destroy
// cancels it, and a mark in the replica's record keeps the rollout from
// beginning another life. A submit that changes the service's request replaces
// what was stopped and lifts the mark: the new life starts. Any other submit,
// the same again or with another number of replicas, leaves both alone; rm ends
// both. A copy of what was stopped is never adopted, wherever it turns up.
//
// # Drain
//
// A drained node takes no new work: no offer, no bind, no restart of what ends
// there. What is bound on it is replaced by new lives, in the pace of a changed
// request; so at most one replica of a service waits for a place elsewhere. What
// is pinned to the node stays. Nothing else in the protocol knows of it.
//
// # Keys
//
//	m/ledger                cluster ID, generation, starts, hold
//	a/OWNER/APP             the wish, its revision, removed
//	r/OWNER/APP/SERVICE/N   lives that are not gone, the wanted one; or who destroyed it
//	p/LIFE/REPLICA          a placement
//	t/LIFE/REPLICA          the tombstone of one, for 30 days
//	h/OWNER/TOKEN/DOMAIN    an HA slot: its placements, at most two
//	n/NODE                  session, link, labels, data-roots
//	e/START/N               the log: what a transaction changed, by whom and why
//
// The entry of the log is part of the transaction that it is about; the last
// 100,000 are kept. See [Ledger.History].
//
// # In memory only
//
// When each placement is due and why it waits, phases, timers, each node's last
// listing. Everything is due again after a start, jittered. Of waiting
// placements with equal needs only the oldest is offered.
//
// # Starts and holds
//
// Each Open begins a new start, in the list of starts, and gives all that waits
// a new epoch. Until every known node has registered with it and then sent a
// complete listing, or the grace is over, the ledger holds (see Holding):
// nothing is absent, lost, stopped or condemned, and what was submitted before
// is neither offered nor bound; what was given up may be adopted. A node that
// shows a mark the ledger never gave proves that it was rolled back: it takes a
// new generation and holds all, durably; then the highest epoch that runs of
// each placement is adopted.
//
// Before that the ledger takes in what nodes run and it does not know: it
// fetches the requests from the nodes' files (see [Requests]), makes records of
// the placements, the newest life of each replica being the wanted one, and
// makes the apps' wishes agree with them. A wish that is newer than those lives
// stays as it is; so does what a tombstone says was removed. What has no
// request, or is above what a ledger of this cluster can have given, stays in
// quarantine: shown with the reason, never stopped. A lost ledger is the same
// with nothing known ([Config.Rebuild]). Not to be had again: what ran nowhere
// when the ledger was lost, changes that no copy shows (rm, scaling down), and
// of a lost ledger also deadlines, tombstones and labels of nodes.
//
// While it holds all, nothing is rolled out: a submit is stored and waits.
//
// # Invariants
//
//   - Whatever was answered survives the death of the process at any instant.
//   - No epoch and no life is given twice.
//   - At most one node is bound to a placement, at most one replica to an HA slot.
//   - Order never comes from a map; no wall clock is read; a lock is held for a
//     few lines of memory, never across I/O.
package retryq
