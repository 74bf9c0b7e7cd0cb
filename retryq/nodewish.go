package retryq

import (
	"context"
	"fmt"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// Wish carries out what somebody on a node wishes of one placement there: stop,
// start or destroy. An ID without a life names the replica's wanted one. Durable
// before it is answered; the same again changes nothing. Refused if the
// placement is elsewhere, NotFound if there is none.
func (l *Ledger) Wish(ctx context.Context, w placement.Wish) (placement.Wished, error) {
	if err := l.wrongCluster(w.Cluster); err != nil {
		return placement.Wished{}, err
	}
	ctx = placement.ActAs(ctx, w.By)
	id, past, err := l.meant(ctx, w.ID)
	if err != nil || past {
		return placement.Wished{Mark: l.Mark(), ID: id, State: placement.Cancelled, Unchanged: true}, err
	}
	var rec rule.Record
	var changed bool
	may := func(r rule.Record) error { return l.mayWish(w.Node, r) }
	switch w.Verb {
	case placement.WishStop:
		rec, changed, err = l.stop(ctx, id, w.By, may)
	case placement.WishStart:
		if rec, changed, err = l.start(ctx, id, "", rule.Start, may); err == nil {
			l.hurry(id)
		}
	case placement.WishDestroy:
		rec, changed, err = l.destroyHere(ctx, id, w.By, may)
	default:
		err = &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("%.40q is no wish about a placement", w.Verb), Why: "it is stop, start or destroy", Next: "install the same version on node and broadcaster"}
	}
	if err != nil {
		return placement.Wished{}, err
	}
	answer := placement.Wished{ID: id, Epoch: rec.Epoch, State: rec.State, Unchanged: !changed}
	l.mu.Lock()
	defer l.mu.Unlock()
	answer.Mark = l.mark()
	if rec.Leaving() && rec.Bound.Node == w.Node && !l.mem.hold.on {
		order := l.stopOrder(id, rec.Bound.Epoch, rec.Why)
		answer.Stop, answer.Epoch = &order, rec.Bound.Epoch
	}
	return answer, nil
}

// meant is the placement that a wish is about. past: it is not wanted any more,
// or buried.
func (l *Ledger) meant(ctx context.Context, id placement.ID) (_ placement.ID, past bool, err error) {
	name := id.Replica()
	if _, err := placement.ParseReplica(string(name)); err != nil {
		return id, false, err
	}
	l.mu.Lock()
	wanted := l.mem.wanted(l.mem.replicas[name])
	missing := l.mem.noReplica(name)
	l.mu.Unlock()
	switch {
	case wanted != nil && (id.Life() == "" || wanted.rec.ID == id):
		return wanted.rec.ID, false, nil
	case id.Life() == "":
		return id, false, missing
	}
	if _, _, ok := l.find(id); ok {
		return id, true, nil
	}
	tomb, err := l.buried(ctx, id)
	if err == nil && !tomb {
		err = missing
	}
	return id, tomb, err
}

// mayWish says why a node may not speak for a placement: it speaks only for
// what it holds, works on, or had last.
func (l *Ledger) mayWish(node placement.NodeID, r rule.Record) error {
	where := r.Home
	switch {
	case r.Bound != nil:
		where = r.Bound.Node
	case r.Last != nil:
		where = r.Last.Node
	case where == "":
		where = r.Request.Node
	}
	if where == node {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.mem.places[r.ID]; e != nil && r.Bound == nil && !e.takers[node].IsZero() {
		return nil
	}
	why := "it is on node " + string(where)
	if where == "" {
		why = "it waits for a node"
	}
	return &placement.Error{
		Kind: placement.KindRefused, What: fmt.Sprintf("node %s cannot speak for %s", node, r.ID.Replica()), Why: why,
		Next: "use that node, or the broadcaster: schedctl stop, start",
	}
}

// destroyHere destroys the replica whose wanted life the placement is. It
// returns the record as it was cancelled.
func (l *Ledger) destroyHere(ctx context.Context, id placement.ID, by string, may mayWish) (rec rule.Record, changed bool, err error) {
	rec, _, ok := l.find(id)
	if !ok {
		return rec, false, errNothingFits
	}
	if changed, err = l.destroy(ctx, id.Replica(), by, may); err != nil {
		return rec, false, err
	}
	if after, _, ok := l.find(id); ok {
		return after, changed, nil
	}
	rec.State, rec.Bound = placement.Cancelled, nil
	return rec, changed, nil
}
