package retryq

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// Report takes what a node lists, or what one event told (step 6), placement by
// placement, a transaction each. It is acknowledged when all of them are
// durable. What is older than the newest word of the node is dropped. The stop
// orders are for that node, and are given again with each report as long as
// the copies are there.
func (l *Ledger) Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
	if err := l.wrongCluster(r.Cluster); err != nil {
		return placement.ReportAnswer{}, nil, err
	}
	ctx = placement.ActAs(ctx, placement.RoleHostinfo+"/"+string(r.Node))
	n, err := l.linked(r)
	if err != nil {
		return placement.ReportAnswer{}, nil, err
	}
	select {
	case n.turn <- struct{}{}:
	case <-ctx.Done():
		return placement.ReportAnswer{}, nil, ctx.Err()
	}
	defer func() { <-n.turn }()
	h, verdict := l.hear(n, r)
	switch verdict {
	case older:
		return placement.ReportAnswer{Mark: l.Mark()}, nil, nil
	case unheard:
		return placement.ReportAnswer{Mark: l.Mark(), Resend: true}, nil, nil
	case fresh:
	}
	if err := h.apply(ctx); err != nil {
		return placement.ReportAnswer{}, nil, err
	}
	if err := l.heard(ctx, n, h); err != nil {
		return placement.ReportAnswer{}, nil, err
	}
	slices.SortFunc(h.orders, func(a, b placement.StopOrder) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Epoch, b.Epoch))
	})
	answer := placement.ReportAnswer{Mark: l.Mark()}
	answer.Unknown = l.quarantined(h.unknown)
	return answer, h.orders, nil
}

// linked finds the node and checks that the report came on a link of this
// ledger.
func (l *Ledger) linked(r placement.Report) (*nodeEntry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.mem.nodes[r.Node]
	if n == nil || r.Link == 0 || r.Link > n.rec.Link {
		return nil, &placement.Error{Kind: placement.KindRegister, What: fmt.Sprintf("the report of node %s cannot be taken", r.Node), Why: fmt.Sprintf("link %d was not opened with this ledger", r.Link), Next: "open a link first"}
	}
	return n, nil
}

type hearing int

const (
	fresh   hearing = iota
	older           // than the newest word of the node
	unheard         // it is like a listing that this start never got
)

// hear puts a report into the order of its node's words, and settles what it
// may prove.
func (l *Ledger) hear(n *nodeEntry, r placement.Report) (*heardReport, hearing) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Link < n.rec.Link || r.Link == n.link && r.Seq <= n.seq {
		return nil, older
	}
	n.link, n.seq, n.lostFor = r.Link, r.Seq, nil
	h := &heardReport{l: l, node: r.Node, session: n.rec.Session, full: r.Full || r.Same != "", held: l.mem.hold.on}
	h.listing = listing{daemons: r.Daemons, copies: r.Copies}
	if r.Same != "" {
		if n.listing == nil || n.listing.digest != r.Same {
			return nil, unheard
		}
		h.listing = *n.listing
	} else if r.Full {
		h.listing.digest = listingDigest(r)
	}
	h.listing.at = r.At
	if n.registered {
		h.trust = rule.Trust{Orders: !h.held, Adopt: !h.held || !l.mem.hold.all}
		if r.At != nil && r.At.Session <= n.rec.Session {
			h.trust.At = r.At
		}
	}
	h.daemons(n, now)
	return h, fresh
}

// heard remembers a report that was applied, and ends the hold if it was the
// last word that the hold waited for.
func (l *Ledger) heard(ctx context.Context, n *nodeEntry, h *heardReport) error {
	l.mu.Lock()
	if h.full {
		slices.SortFunc(h.unknown, func(a, b placement.Copy) int { return cmp.Compare(a.ID, b.ID) })
		n.unknown = h.unknown
		n.listing = &h.listing
		if h.trust.At != nil && h.trust.At.Session == n.rec.Session {
			n.listed = true
		}
	}
	l.mu.Unlock()
	if err := l.keepRoots(ctx, h); err != nil {
		return err
	}
	if err := l.loseBadRoots(ctx, h.node); err != nil {
		return err
	}
	l.askToFetch()
	return l.endHold(ctx)
}

// keepRoots records the data-roots that were seen first.
func (l *Ledger) keepRoots(ctx context.Context, h *heardReport) error {
	if len(h.roots) == 0 {
		return nil
	}
	return l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev := l.nodeRecord(h.node)
		rec.Roots = maps.Clone(rec.Roots)
		if rec.Roots == nil {
			rec.Roots = make(map[string]string)
		}
		maps.Copy(rec.Roots, h.roots)
		c.putNode(rec, rev)
		return c, nil
	})
}

// listingDigest identifies a listing as hostinfod does, which sends it sorted.
func listingDigest(r placement.Report) string {
	l := struct {
		Daemons []placement.DaemonListing
		Copies  []placement.Copy
	}{r.Daemons, r.Copies}
	if len(l.Daemons) == 0 {
		l.Daemons = nil
	}
	if len(l.Copies) == 0 {
		l.Copies = nil
	}
	b, err := json.Marshal(l)
	if err != nil { // it holds only strings, numbers and booleans
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
