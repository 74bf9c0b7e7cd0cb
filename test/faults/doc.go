// Package faults kills the processes of whole clusters at random moments while
// placements are submitted, changed and removed, and has the checker of
// [longshore/test/cluster] judge what becomes of them.
//
//	make faults                  # 12 faults, 48 placements
//	make faults FAULTS=50        # 50 faults, 200 placements
//	make faults SEED=7           # the same faults and the same work again
//	make faults EVERY=500        # a fault each 500 ms in the mean (3000)
//	make faults DOWN=40000       # down for up to 40 s (2000): nodes get lost
//	make faults LOGS=DIR         # keep all logs, and the ledger's events
//
// What is random comes from the seed, which is printed; how the threads of the
// processes meet does not, so a seed repeats a run closely and not exactly.
package faults
