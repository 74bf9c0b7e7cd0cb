// Package placement holds the words of Longshore: the types that its parts
// speak to each other about replicas, the placements that are their lives, the
// offers that carry them to nodes and the reports that come back.
//
// It owns vocabulary only. It imports nothing but the standard library, does no
// I/O, and knows neither Docker nor Redis nor ZeroRPC. Values travel as maps
// with the names of the json tags, in JSON and in msgpack alike.
//
// Invariants:
//   - A [Request] never changes; its [Request.Digest] identifies it.
//   - [Epoch] and [Life] are fixed-width hex, so text order is number order.
//   - No value holds a wall-clock time. Durations are [Millis], order is
//     given by [Mark], [SessionOp] and (link, seq).
package placement

// Format is the version of every message, stored record and container label.
//
// History:
//
//	1  2026-11  first format
const Format = 1
