// Package images carries images through a cluster that may have no registry
// to turn to. It is the only package that knows go-containerregistry.
//
//	schedctl image push          broadcasterd               each node
//	PushTar, Image.Push  ----->  Registry  <--- fetches ---  Mirror  <--- dockerd pulls
//	                             Resolve (at submit)         (loopback, read-only, cached)
//
// [Registry] is broadcasterd's: pushes are durable when they are answered, and
// are there again after a restart. [Registry.Resolve] turns what an app file
// names into a digest, once, at submit. [Mirror] is the node's: its daemons
// pull from it over loopback, which Docker trusts without any setting. Nodes
// pull images of other registries from there, not from here.
//
// On disk, a registry's directory:
//
//	blobs/sha256/<hex>                  layers and configurations
//	manifests/<owner>/<name>/<digest>   a line of JSON {v, type}, then the manifest
//	manifests/<owner>/<name>/<tag>      a line of JSON {v, digest}
//	uploads/<id>                        pushes under way; emptied at start
//
// and a mirror's: blobs/sha256/<hex>, manifests/<owner>/<name>/<digest> in the
// same form, and tmp/ for what is being fetched. All of it may be removed at
// any time.
//
// Invariants:
//   - A file under its final name is whole: written beside it, synced, renamed.
//   - What is served or stored under a digest has that digest.
//   - A repository is owner/name. The first component says whose it is
//     ([RepositoryOwner]); nobody resolves a name of another's repository.
//   - No lock is held while bytes go over a network: one slow client or
//     upstream never holds up another.
package images
