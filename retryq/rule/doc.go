// Package rule holds the ledger's records and its transitions: pure functions
// from what is recorded and what is heard to what is recorded next. It does no
// I/O, takes no lock and reads no clock; the ledger fetches, calls, and commits
// with a compare on every record that a function was given.
//
//	bind.go     a node asks whether it may start a copy
//	exit.go     a copy ended: start again, wait, done, or elsewhere
//	seen.go     a report shows a copy
//	lost.go     a copy is absent, refused by Docker, silent or not started in time
//	cancel.go   rm, update, scale-down; and the proof that a copy is gone
//	wish.go     somebody stops, starts or destroys one replica
//	retry.go    what is DEAD goes back; what is past its deadline becomes DEAD
//	rollout.go  what an app's wish and its replicas differ in, step by step
//	history.go  starts, and the proof that a ledger was rolled back
//	takein.go   after a rollback or loss: what runs and is not known is taken in
//	reclaim.go  and then the highest epoch that runs is adopted
//
// Invariants, which hold between any two transactions:
//   - A record is BOUND or RUNNING if and only if Bound is set, but for one that
//     is CANCELLED or was stopped: there Bound names the copy that is not
//     proven gone (Leaving), and nothing can be adopted.
//   - A record holds an HA slot (Slot != "") only while Bound is set, and the
//     slot's record then lists it. A slot lists placements of one replica.
//   - Last names the copy that may be adopted: the bound one, or the one that
//     was given up on silence or a late start. It is cleared when that copy is
//     told no (condemned) or proven gone.
//   - Epoch, of the next offer, is above every epoch the record had.
package rule
