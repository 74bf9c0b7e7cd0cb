package agent

import (
	"context"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// Runtime makes the agent's changes in the users' daemons. Calls for one owner
// never wait for another's.
type Runtime interface {
	// Ensure returns when the owner's daemon, network and net container are
	// ready; cheap when they are.
	Ensure(ctx context.Context, owner string) error
	// Pull returns when the image is in the owner's daemon; progress is told
	// the bytes that have come, from any goroutine.
	Pull(ctx context.Context, owner, image string, progress func(done, total int64)) error
	// Create makes the container, not started. Any error but
	// [dockerd.ErrUnknown] means that it was not made.
	Create(ctx context.Context, s dockerd.Spec) error
	// Start starts it; one that runs is no error. [dockerd.ErrRefused] means
	// that it does not run; after any other error it may.
	Start(ctx context.Context, owner string, id placement.ID) error
	// Remove stops and removes the container of exactly that epoch. After nil
	// it is gone; one that is not there is gone already. Without grace one that
	// runs is left alone: [dockerd.ErrRunning].
	Remove(ctx context.Context, owner string, id placement.ID, e placement.Epoch, grace time.Duration) error
}

// Eyes see what is in the users' daemons, whoever put it there.
type Eyes interface {
	// List is what is there now. A daemon that cannot be listed is said to be
	// so, never shown as empty.
	List(ctx context.Context) (dockerd.Listing, error)
	// Watch calls f for each event, one at a time, until ctx ends.
	Watch(ctx context.Context, f func(dockerd.Event)) error
}

// Ports publishes host ports on the node's address.
type Ports interface {
	// Expose makes the ports lead to the placement's container, whose net
	// container is up. Twice is as once.
	Expose(ctx context.Context, id placement.ID, ports []placement.Port) error
	// Withdraw takes the placement's ports back; none is no error.
	Withdraw(ctx context.Context, id placement.ID) error
	// WithdrawOne takes one of them back.
	WithdrawOne(ctx context.Context, id placement.ID, port placement.Port) error
	// Keep takes back the ports of every placement of this node not named.
	Keep(ctx context.Context, ids []placement.ID) error
}

// Claims are the locks by which agents race cheaply; nothing depends on them.
type Claims interface {
	// Acquire claims the placement's epoch for the node, or renews its claim.
	// Not ok: holder was first. An error: the table cannot be reached.
	Acquire(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) (holder placement.NodeID, ok bool, err error)
	// Release gives up the node's claim on exactly that epoch.
	Release(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) error
}

// Broadcaster is the ledger's side of the link. A link that is down is an
// error at once.
type Broadcaster interface {
	Register(ctx context.Context, r placement.Register) (placement.Registered, error)
	Bind(ctx context.Context, b placement.Bind) (placement.BindAnswer, error)
	Failed(ctx context.Context, f placement.Failed) error
	Progress(ctx context.Context, p placement.Progress) error
}
