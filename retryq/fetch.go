package retryq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
)

// Requests reaches the files in which nodes keep the requests of their copies.
type Requests interface {
	// Request asks a node for the request with the digest. A [placement.Error]
	// of kind NotFound, Refused or Invalid means that this node cannot give it;
	// after any other error it is worth asking again.
	Request(ctx context.Context, node placement.NodeID, digest string) (placement.Request, error)
}

const (
	fetchWait       = 2 * time.Second // for one answer
	fetchesTogether = 16
)

// fetched is what the nodes answered about one request during a hold.
type fetched struct {
	request *placement.Request
	no      map[placement.NodeID]string // nodes that cannot give it, and why
	silent  string                      // why the last one that may still give it did not
}

// why says why there is no request.
func (f *fetched) why() string {
	if f == nil {
		return "no node was asked for its request"
	}
	var all []string
	for _, node := range sortedKeys(f.no) {
		all = append(all, fmt.Sprintf("%s: %s", node, f.no[node]))
	}
	if f.silent != "" {
		all = append(all, f.silent)
	}
	return "its request cannot be had from " + strings.Join(all, "; ")
}

// unknownCopy is a copy of a placement that the ledger does not know, on a node
// that listed it under this start.
type unknownCopy struct {
	placement.Copy
	holder placement.Holder
}

// unknownCopies are all of them, by node and placement. The lock is held.
func (m *memory) unknownCopies() []unknownCopy {
	var all []unknownCopy
	for _, node := range sortedKeys(m.nodes) {
		n := m.nodes[node]
		if !n.registered || !n.listed || n.listing == nil || n.listing.at == nil {
			continue
		}
		for _, c := range n.unknown {
			if m.places[c.ID] == nil {
				all = append(all, unknownCopy{Copy: c, holder: placement.Holder{Node: node, Epoch: c.Epoch, At: *n.listing.at}})
			}
		}
	}
	return all
}

// toFetch are the nodes that may still give a request which is needed, by its
// digest. The lock is held.
func (l *Ledger) toFetch() map[string][]placement.NodeID {
	m := &l.mem
	if l.cfg.Requests == nil || !m.hold.on || !m.hold.all {
		return nil
	}
	need := make(map[string][]placement.NodeID)
	for _, c := range m.unknownCopies() {
		f := m.fetched[c.Digest]
		if f != nil && (f.request != nil || f.no[c.holder.Node] != "") || slices.Contains(need[c.Digest], c.holder.Node) {
			continue
		}
		need[c.Digest] = append(need[c.Digest], c.holder.Node)
	}
	return need
}

// askToFetch has fetched what is still needed; whoever failed to answer is asked
// again.
func (l *Ledger) askToFetch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.toFetch()) > 0 {
		signal(l.fetchWake)
	}
}

// fetches asks nodes for the requests of what they show and the ledger does not
// know, whenever there are such during a hold, until ctx ends.
func (l *Ledger) fetches(ctx context.Context) error {
	for {
		select {
		case <-l.fetchWake:
		case <-ctx.Done():
			return nil
		}
		l.fetchAll(ctx)
		if err := l.endHold(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("cannot end the hold yet, will be tried again", "err", err)
		}
	}
}

func (l *Ledger) fetchAll(ctx context.Context) {
	l.mu.Lock()
	start, need := l.mem.hold.start, l.toFetch()
	l.mu.Unlock()
	var all errgroup.Group
	all.SetLimit(fetchesTogether)
	for _, digest := range sortedKeys(need) {
		all.Go(func() error {
			l.fetchFrom(ctx, start, digest, need[digest])
			return nil
		})
	}
	_ = all.Wait() // none of them fails
}

// fetchFrom asks nodes, one after the other, until one gives the request.
func (l *Ledger) fetchFrom(ctx context.Context, start placement.Start, digest string, nodes []placement.NodeID) {
	for _, node := range nodes {
		req, err := l.request(ctx, node, digest)
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		if l.mem.hold.start == start {
			l.mem.answered(digest, node, req, err)
		}
		l.mu.Unlock()
		if err == nil {
			return
		}
	}
}

// request asks one node, and does not believe it.
func (l *Ledger) request(ctx context.Context, node placement.NodeID, digest string) (placement.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	req, err := l.cfg.Requests.Request(ctx, node, digest)
	switch {
	case err != nil:
		return req, err
	case req.Digest() != digest:
		return req, &placement.Error{Kind: placement.KindInvalid, What: "what it gave is another request, " + req.Digest()}
	case req.V > placement.Format:
		return req, &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("the request has format %d, this version knows %d", req.V, placement.Format)}
	}
	return req, nil
}

func (m *memory) answered(digest string, node placement.NodeID, req placement.Request, err error) {
	f := m.fetched[digest]
	if f == nil {
		f = &fetched{no: make(map[placement.NodeID]string)}
		m.fetched[digest] = f
	}
	var told *placement.Error
	switch {
	case err == nil:
		f.request = &req
	case errors.As(err, &told) && slices.Contains([]string{placement.KindNotFound, placement.KindRefused, placement.KindInvalid}, told.Kind):
		f.no[node], f.silent = told.What, ""
	default:
		first, _, _ := strings.Cut(err.Error(), "\n")
		f.silent = fmt.Sprintf("%s: %s", node, first)
	}
}
