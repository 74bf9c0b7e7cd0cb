// Package rpc is ZeroRPC, protocol version 3, for both ends of a link: calls,
// errors, streams with flow control, heartbeats and cancellation over one
// connection, whoever dialled it. Stock ZeroRPC clients can call it, and it
// can call stock servers. It knows nothing of what the methods are about.
//
//	Expose                methods of any Go value             expose source
//	WorkQueue             calls to whichever worker is idle   workqueue
//	Publisher, Pusher     events that nobody answers          outlet
//	Subscriber, Puller    the same where they arrive          inlet attach
//	Serve, Dial, Keep     ways to have links
//	Serve, Invoke         middleware around calls             middleware
//	CallEach              one call to many links              calleach
//	deadlines             how long a caller waits             deadline
//	Once                  a call runs once for its key        once
//	Link                  Call and Stream; serves Methods     link client stream server
//	channels              one per call: credits, heartbeats   wheel
//	events                header, name, args in msgpack       event codec encode* decode* scan
//	Conn                  messages of a few frames            transport
//	ZMQ | Memory          ZMTP over TCP, TLS, unix | process  zmq* guard socket | memory
//
// # Frames and events
//
// A message is [envelope ...][event]; a DEALER's envelope is one empty frame.
// Replies echo the envelope verbatim. An event is a msgpack array of three:
//
//	{message_id: bin or str, v: 3, response_to: the channel, deadline_ms: n}, name, args
//
// An event without response_to opens a channel, named by its message_id. Ids
// of ours are bin of 32 hex digits; those of others are echoed with the type
// they came in. Extra keys, which stock peers ignore and which their task
// context may fill: deadline_ms, what is left of the caller's time, or deadline,
// when it is over (seconds since 1970, by clocks that may differ): a call whose
// time is over is refused, never run; idempotency_key, so that the call runs
// once ([Once]); and what middleware sets. Names and args are:
//
//	METHOD       [arguments]                   caller: opens a channel
//	OK           [result]                      ends it
//	ERR          [name, message, nil]          ends it
//	STREAM       item                          one of many
//	STREAM_DONE  nil                           ends it
//	_zpc_more    [n]                           caller: n items more
//	_zpc_hb      [0]                           both, every 5 s
//	_zpc_cancel  []                            caller: stop (ours; stock peers ignore it)
//
// One-way events (PUB, PUSH) are the first kind, in a message of one frame.
//
// Values are maps by the names of their json tags, whole numbers as short as
// they can be, no extension types: a time.Time does not travel. Text that is
// no UTF-8 has its stray bytes replaced by '?', since a stock Python peer drops
// such an event without a word.
//
// # Invariants
//
//   - Bytes from the network are scanned before they are decoded: depth,
//     number of values and lengths are bounded, extensions refused.
//   - A peer can harm its own connection only. Handshakes, sends and handlers
//     never wait for it: a full queue drops it, a handshake has 5 s, calls in
//     progress are counted.
//   - No more items are sent than the receiver asked for: 1 at first, then up
//     to 100 unread.
//   - A channel ends exactly once: by its last event, by cancellation, by two
//     heartbeats missed (10 to 15 s), or with the link, at once.
//   - Nothing is queued for a link that is down.
package rpc
