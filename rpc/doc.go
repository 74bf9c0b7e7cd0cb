// Package rpc is ZeroRPC, protocol version 3, in Go.
package rpc
