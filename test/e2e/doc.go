// Package e2e runs whole clusters of real processes and asks them, by schedctl
// and over HTTP, for what Longshore promises its users.
package e2e
