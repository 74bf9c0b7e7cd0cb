package agent

import (
	"context"
	"fmt"
	"sync"

	"longshore/internal/opfile"
	"longshore/internal/placement"
)

// ops owns (session, op) and the file that tells hostinfo of it.
type ops struct {
	dir  string
	node placement.NodeID
	pen  pen // of the file

	mu      sync.Mutex
	cluster string
	at      placement.SessionOp
	stored  placement.SessionOp
}

// openOps goes on from the file that an earlier run left. One that cannot be
// read, or is another's, counts as none: then session 0 is shown to the ledger.
func openOps(dir string, node placement.NodeID, cluster string) *ops {
	o := &ops{dir: dir, node: node, pen: newPen(), cluster: cluster}
	if f, err := opfile.Read(dir); err == nil && f.Node == node && f.Cluster == cluster {
		o.at, o.stored = f.At(), f.At()
	}
	return o
}

// now is the present (session, op).
func (o *ops) now() placement.SessionOp {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at
}

// step counts a change that was made in Docker, or a bind that is about to be
// sent, and returns when the file says so. The file may already speak of later
// steps too: each of them counts a change that is done as well.
func (o *ops) step(ctx context.Context) (placement.SessionOp, error) {
	o.mu.Lock()
	o.at.Op++
	mine := o.at
	o.mu.Unlock()
	return mine, o.store(ctx, mine)
}

// begin starts a session: from when it returns, the file holds it.
func (o *ops) begin(ctx context.Context, cluster string, session uint64) error {
	o.mu.Lock()
	if session <= o.at.Session {
		defer o.mu.Unlock()
		return fmt.Errorf("the ledger gave session %d, which is not above %d", session, o.at.Session)
	}
	o.cluster, o.at = cluster, placement.SessionOp{Session: session}
	mine := o.at
	o.mu.Unlock()
	return o.store(ctx, mine)
}

// store returns when the file holds at least the step mine. Without a session
// there is nothing that a file could say.
func (o *ops) store(ctx context.Context, mine placement.SessionOp) error {
	if mine.Session == 0 {
		return nil
	}
	if err := o.pen.take(ctx); err != nil {
		return fmt.Errorf("store op %d: %w", mine.Op, err)
	}
	defer o.pen.put()
	o.mu.Lock()
	at, stored, cluster := o.at, o.stored, o.cluster
	o.mu.Unlock()
	if stored.Compare(mine) >= 0 && stored != (placement.SessionOp{}) {
		return nil
	}
	if err := opfile.Write(o.dir, opfile.Op{Cluster: cluster, Node: o.node, Session: at.Session, Op: at.Op}); err != nil {
		return err
	}
	o.mu.Lock()
	o.stored = at
	o.mu.Unlock()
	return nil
}
