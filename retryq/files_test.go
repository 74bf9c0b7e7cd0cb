package retryq_test

import (
	"context"
	"sync"

	"longshore/internal/placement"
)

// files are the requests that nodes keep.
type files struct {
	mu     sync.Mutex
	of     map[placement.NodeID]map[string]placement.Request
	errs   map[placement.NodeID]error // of nodes that answer nothing else
	asked  int
	others bool // they give other requests than they are asked for
}

func (f *files) keep(node placement.NodeID, r placement.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[placement.NodeID]map[string]placement.Request)
	}
	if f.of[node] == nil {
		f.of[node] = make(map[string]placement.Request)
	}
	f.of[node][r.Digest()] = r
}

// lose takes all requests of a node away.
func (f *files) lose(node placement.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, node)
}

// fail makes a node answer with an error; nil: no more.
func (f *files) fail(node placement.NodeID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = map[placement.NodeID]error{node: err}
}

// Request implements [retryq.Requests].
func (f *files) Request(_ context.Context, node placement.NodeID, digest string) (placement.Request, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if err := f.errs[node]; err != nil {
		return placement.Request{}, err
	}
	r, ok := f.of[node][digest]
	if !ok {
		return r, &placement.Error{Kind: placement.KindNotFound, What: "there is no file"}
	}
	if f.others {
		r.Image = "another"
	}
	return r, nil
}
