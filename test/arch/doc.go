// Package arch holds the house rules that a machine can check: which package
// may import which, which one alone may speak to which outside world, and how
// long a file may be. Its tests read the tree as `go list` sees it.
package arch
