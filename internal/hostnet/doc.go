// Package hostnet gives the owners on one node their networks: a bridge and a
// subnet each, masquerade outwards, owners kept apart, and host ports as DNAT
// rules on the node's address. Beside it, for a cluster that lives on one
// machine, it keeps one bridge that carries an address for every node.
//
//	            node's address:8080                      outside
//	                   |  DNAT (PREROUTING, OUTPUT)         ^ masquerade
//	                   v                                    |
//	ls<node><alice>  10.213.7.0/24   .1 gateway  .2 net container  ... own ones
//	      X  refused, but for DNAT and answers
//	ls<node><bob>    10.213.9.0/24
//
// Everything of one (cluster, node) bears its short ID, six characters of a
// hash: the prefix of its bridges, whose alias tells owner and cluster in full,
// and the names of its chains, which hold all its rules:
//
//	filter  FORWARD                -> LONGSHORE-<id>       jumped to first
//	nat     PREROUTING, OUTPUT     -> LONGSHORE-<id>-DNAT  jumped to first
//	nat     POSTROUTING            -> LONGSHORE-<id>-MASQ
//
// Invariants:
//   - The chains follow what this process wants as a whole, in one atomic
//     iptables-restore; so every call is idempotent, many calls at once share one
//     write, and a host whose rules were flushed heals by itself.
//   - A subnet belongs to one owner for as long as it is recorded. It is chosen
//     where no route of the host and no other node here has one, under a lock
//     of the whole host.
//   - No mutex is held across an exec or a call to the kernel; writers take
//     turns on a channel and leave when their context ends.
//   - Sweep finds its things by their names alone, and never touches a bridge,
//     chain or rule that does not bear them.
//
// Not yet: host ports on IPv6 and on loopback, and a container that calls its
// own host port on its own node (hairpin). IPv4 forwarding is switched on where
// it is off, and left on.
package hostnet
