// Package retryq is the ledger: it remembers what every placement wants and
// who may run it.
package retryq
