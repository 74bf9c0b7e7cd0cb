package retryq

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// maxReplicas of one service.
const maxReplicas = 10_000

// Submit makes an app what its owner wishes. It is durable when this returns,
// and as much of it is begun as fits into that one transaction; Run does the
// rest. The same app again changes nothing (Unchanged). Images have to be
// digests by now.
func (l *Ledger) Submit(ctx context.Context, app placement.App) (placement.Submitted, error) {
	app, err := checkApp(app)
	if err != nil {
		return placement.Submitted{}, err
	}
	var answer placement.Submitted
	err = l.change(ctx, func() (*change, error) {
		c := l.newChange()
		c.growth = true
		rec, rev, have := l.app(app.Owner, app.Name)
		sums := digests(app)
		answer = placement.Submitted{Owner: app.Owner, App: app.Name, Revision: rec.Revision, Digests: make(map[string]string)}
		for i, s := range app.Services {
			answer.Digests[s.Name] = sums[i]
		}
		if rev > 0 && !rec.Removed && same(rec.Wish, app) {
			answer.Unchanged = true
			return nil, nil
		}
		rec = rule.App{V: placement.Format, Owner: app.Owner, Name: app.Name, Wish: app, Revision: rec.Revision + 1}
		answer.Revision = rec.Revision
		answer.Added, answer.Changed, answer.Removed = rule.Diff(rec, sums, have)
		c.app = &rec
		c.expect[appKey(app.Owner, app.Name)] = rev
		steps, _ := rule.Rollout(rec, sums, have)
		_, err := l.carryOut(ctx, c, rec, sums, steps)
		return c, err
	})
	return answer, err
}

// same tells whether two apps would be stored alike.
func same(a, b placement.App) bool {
	x, errX := encode(a)
	y, errY := encode(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// checkApp refuses what cannot be an app, and puts its services in order.
func checkApp(app placement.App) (placement.App, error) {
	if app.V > placement.Format {
		return app, invalid("the app has format %d, this version knows %d", app.V, placement.Format)
	}
	app.V = placement.Format
	if err := placement.CheckName("owner", app.Owner); err != nil {
		return app, err
	}
	if err := placement.CheckName("app", app.Name); err != nil {
		return app, err
	}
	app.Services = slices.Clone(app.Services)
	slices.SortFunc(app.Services, func(a, b placement.Service) int { return strings.Compare(a.Name, b.Name) })
	for i, s := range app.Services {
		switch err := placement.CheckName("service", s.Name); {
		case err != nil:
			return app, err
		case i > 0 && app.Services[i-1].Name == s.Name:
			return app, invalid("service %s is there twice", s.Name)
		case s.Replicas < 0 || s.Replicas > maxReplicas:
			return app, invalid("service %s wants %d replicas; 0 to %d can be had", s.Name, s.Replicas, maxReplicas)
		case s.Request.Image == "":
			return app, invalid("service %s has no image", s.Name)
		case s.Deadline < 0 || s.Request.LostAfter < 0:
			return app, invalid("service %s has a negative duration", s.Name)
		}
		if app.Services[i].Request.V == 0 {
			app.Services[i].Request.V = placement.Format
		}
	}
	return app, nil
}

func invalid(format string, args ...any) error {
	return &placement.Error{Kind: placement.KindInvalid, What: "the app cannot be taken", Why: fmt.Sprintf(format, args...), Next: "correct the app and submit it again"}
}

// app returns an app's record, its revision and its replicas.
func (l *Ledger) app(owner, name string) (rule.App, uint64, []rule.Standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.mem.apps[appKey(owner, name)]
	if a == nil {
		return rule.App{}, 0, nil
	}
	return a.rec, a.rev, l.mem.standings(a)
}

// Remove ends an app: every replica is cancelled, and gone when its copy is
// proven gone. It returns the replicas that were there. NotFound if there are
// none.
func (l *Ledger) Remove(ctx context.Context, owner, app string) ([]placement.Replica, error) {
	var gone []placement.Replica
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, have := l.app(owner, app)
		gone = nil
		for _, s := range have {
			gone = append(gone, s.Replica.Replica)
		}
		slices.SortFunc(gone, byNumber)
		if rev == 0 || rec.Removed && len(gone) == 0 {
			return nil, &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("there is no app %s/%s", owner, app), Next: "schedctl ps lists them"}
		}
		if rec.Removed {
			return nil, nil
		}
		rec.Removed, rec.Wish = true, placement.App{V: placement.Format, Owner: owner, Name: app}
		rec.Revision++
		c.app = &rec
		c.expect[appKey(owner, app)] = rev
		steps, _ := rule.Rollout(rec, nil, have)
		_, err := l.carryOut(ctx, c, rec, nil, steps)
		return c, err
	})
	return gone, err
}

// byNumber orders replicas as people count them.
func byNumber(a, b placement.Replica) int {
	if x, y := a.Service(), b.Service(); x != y {
		return strings.Compare(x, y)
	}
	return a.Number() - b.Number()
}

// Retry puts the DEAD placements that the filter chooses back into the queue,
// and makes those that wait due now. It returns both. NotFound if the filter
// chooses nothing.
func (l *Ledger) Retry(ctx context.Context, f placement.Filter) ([]placement.Replica, error) {
	list, err := l.Statuses(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &placement.Error{Kind: placement.KindNotFound, What: "there is nothing to retry", Why: "no replica fits", Next: "schedctl ps lists them"}
	}
	var retried []placement.Replica
	for _, s := range list {
		if s.State != placement.Dead && s.State != placement.Pending {
			continue
		}
		if err := l.retry(ctx, s.ID); err != nil {
			return retried, err
		}
		retried = append(retried, s.Replica)
	}
	return retried, nil
}

func (l *Ledger) retry(ctx context.Context, id placement.ID) error {
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		rec, rev, ok := l.find(id)
		if !ok {
			return nil, nil
		}
		if rec, ok = rule.Retry(rec, l.epoch()); !ok {
			return nil, nil
		}
		c.put(rec, rev)
		return c, nil
	})
	if err == nil {
		l.hurry(id)
	}
	return err
}
