// Package cluster runs a whole Longshore cluster of real processes for a test:
// redis-server, broadcasterd, and an agentd and a hostinfod for each node, with
// real Docker daemons and an address of its own for each node. Every process
// can be killed and started again; everything is removed when the test ends.
//
// It also holds the [Checker], which lists all daemons itself, once a second,
// and judges what it sees without asking Longshore.
//
// The programs are those in bin/, so `make build` comes first.
package cluster
