// Package model is the placement protocol as an explicit-state model: a small
// cluster (2 or 3 nodes, 2 or 3 placements, few faults of each kind), of which
// every order of events is tried, breadth first, so that what breaks is shown
// by a shortest story.
//
// The ledger's transitions are the product's own: the model calls the functions
// of retryq/rule. What surrounds them, who may call which function when, is
// written again here as small as it can be: the ledger's holds and its
// bookkeeping of reports (ledger.go, starts.go, wishes.go), agentd (agent.go),
// hostinfod (watch.go), the network, which delays, reorders and repeats, and
// the faults (faults.go). There is no Redis: any node may prepare any epoch
// that is offered. There is no time: whatever may be late may be late for ever.
//
// A [Config] says how large the cluster is and which faults happen how often. A
// [Defect] is the same with one clause removed or misread; each must show a
// violation, else the checker is broken.
//
//	state.go   what a state is          canon.go   equal states made the same
//	search.go  breadth first            story.go   a violation as a story
//	check.go   what must always hold    walk.go    and what must come about again
package model
