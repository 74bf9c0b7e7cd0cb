// Package broadcaster offers waiting placements to nodes, and is what clients
// and agents talk to. It owns the chains of rounds by which a placement finds
// its node, the links to the agents, and the two tables of methods. It stores
// nothing: what is to be remembered goes to the ledger before it is answered.
//
//	client --submit--> validate, resolve images --> ledger (durable) --> answer
//
//	ledger --due--> chain: round of 3, 6, 12 ... all --offer--> agents
//	  ^                      | nobody yet: next round after 300 ms   |
//	  +---settle: who took it, or every pass <---take or pass--------+
//
//	agent --register, bind, failed, progress--> ledger
//	ledger --stop order--> agent
//
// Invariants:
//   - One bad request, one slow node or one slow image holds up nobody else:
//     each request, each chain and each offer has a goroutine of its own.
//   - The first take settles a chain. Another node that took it too loses its
//     claim or its bind; the broadcaster does not judge.
//   - A chain ends only when every eligible node was asked and has answered or
//     was given its time, or when one took it.
//   - A node is offered work on one link. A second live session of the same
//     node stops new work on it and raises an alarm.
//   - Choices depend on the seed and the try alone, never on the order of a
//     map or of goroutines.
package broadcaster
