// Package faults strikes whole clusters with faults while placements are
// submitted, changed and removed, and has the checker of
// [longshore/test/cluster] judge what becomes of them.
//
// The matrix is a table of kinds of faults, a family a file; each kind has a
// cluster of its own. Beside it, every process is killed at random moments.
// What was seen is kept in docs/reliability.md, row by row.
//
//	make faults                    # all of it; takes an hour
//	make faults ROWS=redis         # rows whose names hold this (with commas: or that)
//	make faults ROWS=short TIMES=1 # three rows at random, by the seed
//	make faults TIMES=2            # each kind twice
//	make faults SEED=7             # the same faults and the same work again
//	make faults FAULTS=50          # 50 random kills, 200 placements (12, 48)
//	make faults EVERY=500          # a random kill each 500 ms in the mean (3000)
//	make faults DOWN=40000         # down for up to 40 s (2000): nodes get lost
//	make faults LOGS=DIR           # keep all logs, and the ledger's events
//
// What is random comes from the seed, which is printed; how the threads of the
// processes meet does not, so a seed repeats a run closely and not exactly.
package faults
