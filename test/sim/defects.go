package sim

import (
	"context"
	"strings"
	"time"

	"longshore/agent"
	"longshore/broadcaster"
	"longshore/hostinfo"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/retryq"
)

// Defect breaks the product between its parts and the outside world, to see
// whether the judge sees it. The zero value breaks nothing.
type Defect struct {
	Name    string
	Store   func(retryq.Store) retryq.Store
	Runtime func(agent.Runtime) agent.Runtime
	Listing func(dockerd.Listing) dockerd.Listing // as hostinfo sees it
	Records func(broadcaster.Records) broadcaster.Records
	Orders  func(hostinfo.Orders) hostinfo.Orders
}

// Defects are the ways in which a product could break its promises that the
// judge is known to see.
func Defects() []Defect {
	return []Defect{
		{Name: "a commit is forgotten", Store: func(s retryq.Store) retryq.Store { return &forgetful{Store: s, each: 40} }},
		{Name: "a new record is not written", Store: func(s retryq.Store) retryq.Store { return &forgetful{Store: s, each: 20, records: true} }},
		{Name: "a copy is started when it is created", Runtime: func(r agent.Runtime) agent.Runtime { return eager{r} }},
		{Name: "a neighbour is removed too", Runtime: func(r agent.Runtime) agent.Runtime { return careless{r.(hands)} }},
		{Name: "a removal is only said", Runtime: func(r agent.Runtime) agent.Runtime { return lazy{r} }},
		{Name: "a running copy is not listed", Listing: overlook},
		{Name: "every bind is a yes", Records: func(r broadcaster.Records) broadcaster.Records { return yes{r} }},
		{Name: "stop orders are not carried", Orders: func(hostinfo.Orders) hostinfo.Orders { return nobody{} }},
	}
}

// forgetful says that it has written what it has not.
type forgetful struct {
	retryq.Store
	each, count int
	records     bool // only the records of placements
}

func (s *forgetful) Commit(ctx context.Context, t retryq.Txn) (uint64, error) {
	if s.count++; s.count%s.each != 0 {
		return s.Store.Commit(ctx, t)
	}
	if !s.records {
		return s.Store.Commit(ctx, retryq.Txn{Expect: t.Expect})
	}
	var kept []retryq.Put
	for _, p := range t.Put {
		if !strings.HasPrefix(p.Key, "p/") {
			kept = append(kept, p)
		}
	}
	t.Put = kept
	return s.Store.Commit(ctx, t)
}

// eager starts what it creates, as a client that has "run" and no "create".
type eager struct{ agent.Runtime }

func (r eager) Create(ctx context.Context, s dockerd.Spec) error {
	if err := r.Runtime.Create(ctx, s); err != nil {
		return err
	}
	return r.Start(ctx, s.ID.Owner(), s.ID)
}

// careless removes a neighbour too.
type careless struct{ hands }

func (r careless) Remove(ctx context.Context, owner string, id placement.ID, e placement.Epoch, grace time.Duration) error {
	type neighbour struct {
		id    placement.ID
		epoch placement.Epoch
	}
	other, err := call(ctx, r.p, time.Millisecond, "neighbour", func(done func(neighbour, error)) {
		for _, c := range r.d.all() {
			if c.ID.Owner() == owner && c.ID != id && c.State == placement.CopyRunning {
				done(neighbour{c.ID, c.Epoch}, nil)
				return
			}
		}
		done(neighbour{}, nil)
	})
	if err == nil && other.id != "" {
		err = r.hands.Remove(ctx, owner, other.id, other.epoch, time.Second)
	}
	if err != nil {
		return err
	}
	return r.hands.Remove(ctx, owner, id, e, grace)
}

// lazy never removes what runs.
type lazy struct{ agent.Runtime }

func (r lazy) Remove(ctx context.Context, owner string, id placement.ID, e placement.Epoch, grace time.Duration) error {
	if grace > 0 {
		return nil
	}
	return r.Runtime.Remove(ctx, owner, id, e, grace)
}

// overlook leaves a copy out now and then.
func overlook(l dockerd.Listing) dockerd.Listing {
	if n := len(l.Copies); n > 3 && time.Now().Second() == 7 {
		l.Copies = l.Copies[:n-1]
	}
	return l
}

// yes lets every copy start.
type yes struct{ broadcaster.Records }

func (r yes) Bind(ctx context.Context, b placement.Bind) (placement.BindAnswer, error) {
	a, err := r.Records.Bind(ctx, b)
	if err == nil && a.Verdict == placement.VerdictNo {
		a.Verdict = placement.VerdictYes
	}
	return a, err
}

// nobody carries no order.
type nobody struct{}

func (nobody) Stop(context.Context, placement.NodeID, placement.StopOrder) error { return nil }
