// Package interop holds rpc against foreign ZeroRPC peers in both directions,
// over a wire that it records. What is recorded is compared byte by byte with
// testdata/wire.txt, a table typed by hand, and never goes through our codec.
//
// The foreign peer is testdata/peer.py on Debian's python3-zmq (libzmq) and
// python3-msgpack. Where ZERORPC_PYTHON names a Python interpreter that can
// import the zerorpc package, the same cases run against that, too
// (testdata/stock.py): it is not in Debian, so CI has it not.
//
// Calls of 30 s and peers that are given up after 15 to 20 s are real time
// here; they run beside one another.
package interop
