package retryq

import (
	"context"
	"errors"

	"longshore/internal/placement"
)

// Config says what a ledger stands on.
type Config struct{}

// Ledger is the durable memory of every placement.
type Ledger struct{}

var errNotYet = errors.New("retryq: not yet")

// Open reads the store and begins a new start.
func Open(ctx context.Context, cfg Config) (*Ledger, error) { return nil, errNotYet }

// Run does what falls due until ctx ends.
func (l *Ledger) Run(ctx context.Context) error { return errNotYet }

// Cluster is the cluster's ID.
func (l *Ledger) Cluster() string { return "" }

// Mark is (generation, start, revision) now.
func (l *Ledger) Mark() placement.Mark { return placement.Mark{} }

// Submit stores an app.
func (l *Ledger) Submit(ctx context.Context, app placement.App) (placement.Submitted, error) {
	return placement.Submitted{}, errNotYet
}

// Remove ends an app.
func (l *Ledger) Remove(ctx context.Context, owner, app string) ([]placement.Replica, error) {
	return nil, errNotYet
}

// Retry puts DEAD placements back.
func (l *Ledger) Retry(ctx context.Context, f placement.Filter) ([]placement.Replica, error) {
	return nil, errNotYet
}

// Register takes a node's agent in.
func (l *Ledger) Register(ctx context.Context, r placement.Register) (placement.Registered, error) {
	return placement.Registered{}, errNotYet
}

// OpenLink numbers a connection of hostinfod.
func (l *Ledger) OpenLink(ctx context.Context, cluster string, node placement.NodeID) (placement.Link, error) {
	return placement.Link{}, errNotYet
}

// Bind decides whether a node may start a copy.
func (l *Ledger) Bind(ctx context.Context, b placement.Bind) (placement.BindAnswer, error) {
	return placement.BindAnswer{}, errNotYet
}

// Failed takes a refused start.
func (l *Ledger) Failed(ctx context.Context, f placement.Failed) error { return errNotYet }

// Report takes a node's listing or event.
func (l *Ledger) Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
	return placement.ReportAnswer{}, nil, errNotYet
}

// NextOrder blocks until a copy is to be stopped at once, ahead of its node's
// next report: after rm, an update or a scale-down.
func (l *Ledger) NextOrder(ctx context.Context) (placement.NodeID, placement.StopOrder, error) {
	return "", placement.StopOrder{}, errNotYet
}

// Lose puts back what a silent node held.
func (l *Ledger) Lose(ctx context.Context, s placement.Silence) (lost int, more bool, err error) {
	return 0, false, errNotYet
}

// Nodes lists the known nodes by name.
func (l *Ledger) Nodes(ctx context.Context) ([]placement.NodeRecord, error) { return nil, errNotYet }

// ChangeNode carries out an operator's word about a node.
func (l *Ledger) ChangeNode(ctx context.Context, c placement.NodeChange) (placement.NodeRecord, error) {
	return placement.NodeRecord{}, errNotYet
}

// Unknown lists a node's quarantined copies: of placements the ledger does not
// know.
func (l *Ledger) Unknown(node placement.NodeID) []placement.Copy { return nil }

// Holding says why the ledger holds old work after its start; "" if it does not.
func (l *Ledger) Holding() string { return "" }

// Next blocks until a placement is due.
func (l *Ledger) Next(ctx context.Context) (placement.Try, error) { return placement.Try{}, errNotYet }

// Settle ends a try.
func (l *Ledger) Settle(t placement.Try, o placement.Outcome) {}

// Progress takes the word of a node that works on an offer.
func (l *Ledger) Progress(p placement.Progress) {}

// MoreRoom says that a node has room again.
func (l *Ledger) MoreRoom(node placement.NodeID, free placement.Resources) {}

// Statuses lists placements by replica and life.
func (l *Ledger) Statuses(ctx context.Context, f placement.Filter) ([]placement.Status, error) {
	return nil, errNotYet
}

// Explain tells everything about a replica's wanted life.
func (l *Ledger) Explain(ctx context.Context, r placement.Replica) (placement.Status, error) {
	return placement.Status{}, errNotYet
}

// Watch streams placements.
func (l *Ledger) Watch(ctx context.Context, f placement.Filter, each func(placement.Event) error) error {
	return errNotYet
}
