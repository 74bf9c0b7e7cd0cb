package console

import (
	"context"
	"strings"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Relayed is a middleware for a node's link to the broadcaster: a call that the
// broadcaster passes on for somebody (placement.CallerKey) is theirs, and allow
// is asked once more whether they may. It belongs on no other link: whoever
// calls there could say to be anybody.
func Relayed(allow func(*rpc.Call) error) func(next rpc.Handler) rpc.Handler {
	return func(next rpc.Handler) rpc.Handler {
		return func(ctx context.Context, call *rpc.Call) (any, error) {
			var caller string
			ok, err := call.Header(placement.CallerKey, &caller)
			if err != nil || !ok {
				return next(ctx, call)
			}
			theirs := *call
			theirs.Peer.Role, theirs.Peer.Subject, _ = strings.Cut(caller, "/")
			if theirs.Peer.Role == "" {
				return nil, &placement.Error{Kind: placement.KindRefused, What: "the call does not say whose it is", Why: "its caller is not role/name"}
			}
			if err := allow(&theirs); err != nil {
				return nil, err
			}
			return next(ctx, &theirs)
		}
	}
}
