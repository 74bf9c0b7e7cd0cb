// Package journal keeps idempotency keys in files, for rpc.Once: a call that
// must not run twice does not, also when its process is killed meanwhile.
//
// Of each call there are up to two files, 0600, in a directory of one process,
// named by a digest of who called what with which key:
//
//	DIGEST.begun   the call: caller, method, key, digest of the arguments
//	DIGEST.ended   what came of it, and when
//
// Invariants:
//   - The first is on the disk before the call begins. Only both are a call
//     whose end is known.
//   - A file is put in place by rename: it is there whole, or not.
//   - When a call has ended is told by the machine's own clock since its boot,
//     and which boot that was. After another boot its time begins anew: a key
//     is rather remembered too long.
package journal
