package hostinfo_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"longshore/internal/placement"
)

// ledger remembers what it was told, and holds so many placements a node.
type ledger struct {
	mu      sync.Mutex
	records []placement.NodeRecord
	links   uint64
	reports []placement.Report
	room    []placement.NodeID // nodes with more room
	answer  func(ctx context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error)

	start time.Time
	holds map[placement.NodeID]int            // whole nodes
	owned map[placement.NodeID]map[string]int // by owner
	lost  []lost
	fail  error
}

type lost struct {
	after time.Duration
	placement.Silence
	count int
}

func newLedger(names ...placement.NodeID) *ledger {
	l := &ledger{start: time.Now(), holds: map[placement.NodeID]int{}, owned: map[placement.NodeID]map[string]int{}}
	for _, n := range names {
		l.records = append(l.records, placement.NodeRecord{Node: n, Address: "addr-" + string(n), Reported: map[string]string{"arch": "amd64", "zone": "own word"}, Labels: map[string]string{"zone": "z-" + string(n)}})
		l.holds[n] = 3
	}
	return l
}

func (l *ledger) OpenLink(_ context.Context, cluster string, node placement.NodeID) (placement.Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.ContainsFunc(l.records, func(r placement.NodeRecord) bool { return r.Node == node }) {
		return placement.Link{}, &placement.Error{Kind: placement.KindRegister, What: "the agent of " + string(node) + " has not registered"}
	}
	l.links++
	return placement.Link{Cluster: cluster, Link: l.links}, nil
}

func (l *ledger) Report(ctx context.Context, r placement.Report) (placement.ReportAnswer, []placement.StopOrder, error) {
	l.mu.Lock()
	l.reports = append(l.reports, r)
	answer := l.answer
	l.mu.Unlock()
	if answer != nil {
		return answer(ctx, r)
	}
	return placement.ReportAnswer{}, nil, nil
}

func (l *ledger) Nodes(context.Context) ([]placement.NodeRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records), nil
}

func (l *ledger) MoreRoom(node placement.NodeID, _ placement.Resources) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = append(l.room, node)
}

// Lose knows services of the default lost_after only.
func (l *ledger) Lose(_ context.Context, s placement.Silence) (int, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, false, l.fail
	}
	if s.For.Duration() < 30*time.Second || s.HostAnswers && s.For.Duration() < 300*time.Second {
		return 0, false, nil
	}
	have := l.holds[s.Node]
	if s.Owner != "" {
		have = l.owned[s.Node][s.Owner]
	}
	n := min(have, s.Max)
	if s.Owner != "" {
		l.owned[s.Node][s.Owner] -= n
	} else {
		l.holds[s.Node] -= n
	}
	if n > 0 {
		l.lost = append(l.lost, lost{time.Since(l.start), s, n})
	}
	return n, have > n, nil
}

func (l *ledger) losses() []lost {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lost)
}

// agents take stop orders.
type agents struct {
	mu   sync.Mutex
	got  []string
	stop func(ctx context.Context, node placement.NodeID, o placement.StopOrder) error
}

func (a *agents) Stop(ctx context.Context, node placement.NodeID, o placement.StopOrder) error {
	a.mu.Lock()
	a.got = append(a.got, string(node)+" "+string(o.ID))
	stop := a.stop
	a.mu.Unlock()
	if stop != nil {
		return stop(ctx, node, o)
	}
	return nil
}

func (a *agents) orders() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

func (l *ledger) Mark() placement.Mark { return placement.Mark{Gen: 1, Start: 1, Rev: 1} }
