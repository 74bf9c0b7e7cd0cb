package wiring

import (
	"context"
	"log/slog"

	"longshore/internal/pki"
	"longshore/rpc"
)

// revocation ends what revoked certificates hold. Its zero value knows none.
type revocation struct {
	watch  *pki.Watch
	logger *slog.Logger
}

// newRevocation reads the list beside the authority in dir, and has the store
// let in nobody who is on it.
func newRevocation(dir string, store *pki.Store, logger *slog.Logger) (revocation, error) {
	if dir == "" || store == nil {
		return revocation{}, nil
	}
	watch, err := pki.WatchRevoked(dir, logger)
	if err != nil {
		return revocation{}, err
	}
	store.Refuse(watch.Check)
	return revocation{watch: watch, logger: logger}, nil
}

// Run reads the list again when it changes, until ctx ends.
func (r revocation) Run(ctx context.Context) error {
	if r.watch == nil {
		<-ctx.Done()
		return nil
	}
	return r.watch.Run(ctx)
}

// onLink closes a link when its certificate is revoked, for [rpc.Config.OnLink].
func (r revocation) onLink(ctx context.Context, l *rpc.Link) {
	cert := l.Peer().Certificate
	if r.watch == nil || cert == nil {
		return
	}
	for {
		changed := r.watch.Changed() // before the look: what changes meanwhile is seen
		if err := r.watch.Check(cert); err != nil {
			r.logger.Warn("a live link is closed", "addr", l.Peer().Addr, "err", err)
			_ = l.Close() // always nil
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
