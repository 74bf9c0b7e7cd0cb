package retryq

import (
	"context"

	"longshore/internal/placement"
)

// NextOrder blocks until a copy is to be stopped at once, ahead of its node's
// next report: after rm, an update or a scale-down. An order that is not
// carried out is given again with the node's reports.
func (l *Ledger) NextOrder(ctx context.Context) (placement.NodeID, placement.StopOrder, error) {
	select {
	case l.orderOne <- struct{}{}:
	case <-ctx.Done():
		return "", placement.StopOrder{}, ctx.Err()
	}
	defer func() { <-l.orderOne }()
	for {
		if o, ok := l.popOrder(); ok {
			return o.node, o.stop, nil
		}
		select {
		case <-l.orders:
		case <-ctx.Done():
			return "", placement.StopOrder{}, ctx.Err()
		}
	}
}

func (l *Ledger) popOrder() (order, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mem.orders) == 0 {
		return order{}, false
	}
	o := l.mem.orders[0]
	l.mem.orders = l.mem.orders[1:]
	return o, true
}
