// Package pki is the cluster's own certificates: the private authority that
// signs them, the identity that each one proves, and a process's own, which it
// reads again when they are renewed. Standard library only; ECDSA P-256.
//
// A certificate names cluster, role and name in a URI,
//
//	longshore://CLUSTER/agent/n7
//
// and nothing else says who somebody is. Those of daemons bear besides the DNS
// name ROLE.CLUSTER.longshore. Whoever dials a broadcaster wants to see that of
// the broadcasters of its own cluster: so an agent's certificate cannot play
// one, and no address is in any certificate unless an operator put it there
// (for browsers and the like).
//
// # A directory of certificates
//
//	ca.pem     the authorities that are trusted; one, or two while they change
//	cert.pem   the own certificate, 0644
//	key.pem    its key, 0600
//
// and the authority's own has ca.pem, ca-key.pem (0600) and revoked, the list of
// what is not trusted any more. Files are replaced
// by rename. A renewal is a new cert.pem for the same key, so the two never
// disagree, and a renewal needs no secret to travel.
//
// # Invariants
//
//   - A certificate is renewed for exactly who it was, or not at all.
//   - What cannot be read leaves what was read before in use.
//   - A certificate that has ended ends handshakes and nothing else. The error
//     names the date and what to do.
//   - One that is revoked ends handshakes where the list is read, which is at the
//     broadcaster, and the links there; and it is not renewed.
package pki
