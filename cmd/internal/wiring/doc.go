// Package wiring joins the parts of Longshore into its processes: the
// broadcaster, a node's agent and a node's hostinfo. The programs below cmd and
// the cluster of `schedctl dev` run the same wiring; nothing is decided here.
package wiring
