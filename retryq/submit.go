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

const (
	maxServices = 500    // of one app
	maxReplicas = 10_000 // of one service
)

// Submit makes an app what its owner wishes. It is durable when this returns,
// and as much of it is begun as fits into that one transaction; Run does the
// rest. The same app again changes nothing (Unchanged), neither what was
// stopped nor what was destroyed meanwhile. Images have to be digests by now.
func (l *Ledger) Submit(ctx context.Context, app placement.App) (placement.Submitted, error) {
	app, err := checkApp(app)
	if err != nil {
		return placement.Submitted{}, err
	}
	return l.submit(ctx, app.Owner, app.Name, func(placement.App) (placement.App, error) { return app, nil })
}

// SubmitService adds one service to an app, or changes just that one; there
// need not be such an app. node, if not "", says who asks: then a service that
// is there and is not pinned to that node is a Conflict. What was destroyed of
// the service comes back, also if it is the same as before.
func (l *Ledger) SubmitService(ctx context.Context, owner, app string, service placement.Service, node placement.NodeID) (placement.Submitted, error) {
	if _, err := checkApp(placement.App{Owner: owner, Name: app, Services: []placement.Service{service}}); err != nil {
		return placement.Submitted{}, err
	}
	if err := l.notYet(); err != nil { // its app may have more services than are known
		return placement.Submitted{}, err
	}
	answer, err := l.submit(ctx, owner, app, func(old placement.App) (placement.App, error) {
		i := slices.IndexFunc(old.Services, func(s placement.Service) bool { return s.Name == service.Name })
		if i >= 0 && node != "" && old.Services[i].Request.Node != node {
			return old, &placement.Error{
				Kind: placement.KindConflict, What: fmt.Sprintf("%s/%s/%s is there already", owner, app, service.Name), Why: "it is not one of node " + string(node) + "'s own",
				Next: "choose another name, or change it through the broadcaster",
			}
		}
		old.V, old.Owner, old.Name = placement.Format, owner, app
		old.Services = slices.Clone(old.Services)
		if i >= 0 {
			old.Services[i] = service
		} else {
			old.Services = append(old.Services, service)
		}
		return checkApp(old)
	})
	if err != nil {
		return answer, err
	}
	for _, name := range answer.Destroyed {
		if name.Service() != service.Name {
			continue
		}
		if _, err := l.revive(ctx, name); ignoreGone(err) != nil {
			return answer, err
		}
		answer.Added, answer.Unchanged = append(answer.Added, name), false
	}
	answer.Destroyed = slices.DeleteFunc(answer.Destroyed, func(r placement.Replica) bool { return r.Service() == service.Name })
	return answer, nil
}

// submit makes an app what change makes of its present wish.
func (l *Ledger) submit(ctx context.Context, owner, name string, wish func(placement.App) (placement.App, error)) (placement.Submitted, error) {
	var answer placement.Submitted
	err := l.change(ctx, func() (*change, error) {
		c := l.newChange()
		c.growth = true
		rec, rev, have := l.app(owner, name)
		app, err := wish(rec.Wish)
		if err != nil {
			return nil, err
		}
		sums := digests(app)
		answer = placement.Submitted{Owner: owner, App: name, Revision: rec.Revision, Digests: make(map[string]string)}
		for i, s := range app.Services {
			answer.Digests[s.Name] = sums[i]
		}
		if rev > 0 && !rec.Removed && same(rec.Wish, app) {
			answer.Unchanged, answer.Destroyed = true, rule.Destroyed(rec, sums, have)
			return nil, nil
		}
		rec = rule.App{V: placement.Format, Owner: owner, Name: name, Wish: app, Revision: rec.Revision + 1, Since: placement.Life(l.epoch())}
		answer.Revision = rec.Revision
		answer.Added, answer.Changed, answer.Removed = rule.Diff(rec, sums, have)
		answer.Destroyed = rule.Destroyed(rec, sums, have)
		c.app = &rec
		c.expect[appKey(owner, name)] = rev
		steps, _ := rule.Rollout(rec, sums, have)
		_, err = l.carryOut(ctx, c, rec, sums, steps)
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
		case len(app.Services) > maxServices:
			return app, invalid("it has %d services; 1 to %d can be had", len(app.Services), maxServices)
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
			if len(s.Replica.Lives) > 0 {
				gone = append(gone, s.Replica.Replica)
			}
		}
		slices.SortFunc(gone, byNumber)
		if err := l.notYet(); rev == 0 && err != nil {
			return nil, err
		}
		if rev == 0 || rec.Removed && len(gone) == 0 {
			return nil, &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("there is no app %s/%s", owner, app), Next: "schedctl ps lists them"}
		}
		if rec.Removed {
			return nil, nil
		}
		rec.Removed, rec.Wish = true, placement.App{V: placement.Format, Owner: owner, Name: app}
		rec.Revision++
		rec.Since = placement.Life(l.epoch())
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
