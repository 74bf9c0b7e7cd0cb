package hostinfo

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"longshore/internal/placement"
)

// Runtime is what the watcher needs of the Docker daemons of its node. It only
// looks; all methods may be called at the same time.
type Runtime interface {
	// List lists all copies of all daemons. A daemon that could not be listed
	// is in the listing with OK false; an error means that nothing is known of
	// any.
	List(ctx context.Context) (Listing, error)
	// Watch calls f for each event of every daemon, those that come later
	// included, one at a time, until ctx ends. It tells by an event with Resync
	// when a daemon's stream was opened or broke.
	Watch(ctx context.Context, f func(Event)) error
	// Used measures what all owners use: CPU as the mean since the call
	// before, memory that cannot be freed, disk.
	Used(ctx context.Context) (placement.Resources, error)
	// Measure measures for the next calls of Used what takes long: disk.
	Measure(ctx context.Context) error
}

// Listing is all copies on a node, and which daemons could be asked.
type Listing struct {
	Daemons []placement.DaemonListing
	Copies  []placement.Copy
}

// Event is one change of one copy; or, with Resync, the word that events of
// the owner's daemon may have been missed.
type Event struct {
	Owner  string
	Copy   placement.Copy
	Resync bool
}

// sorted is l in the one order that makes equal listings equal.
func (l Listing) sorted() Listing {
	return Listing{
		Daemons: slices.SortedStableFunc(slices.Values(l.Daemons), func(a, b placement.DaemonListing) int { return cmp.Compare(a.Owner, b.Owner) }),
		Copies: slices.SortedStableFunc(slices.Values(l.Copies), func(a, b placement.Copy) int {
			return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Epoch, b.Epoch))
		}),
	}
}

// digest identifies a sorted listing. Both ends compute it, so that a listing
// that equals the last acknowledged one travels as 64 bytes.
func (l Listing) digest() string {
	if len(l.Daemons) == 0 { // the wire does not tell nil from empty
		l.Daemons = nil
	}
	if len(l.Copies) == 0 {
		l.Copies = nil
	}
	b, err := json.Marshal(l)
	if err != nil { // it holds only strings, numbers and booleans
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
