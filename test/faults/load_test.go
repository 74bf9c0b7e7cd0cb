package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
	"longshore/test/cluster"
)

// perApp is how many placements an app has: three of service web, two of job.
const perApp = 5

// load submits, changes and removes apps, and tells the checker what is wanted.
type load struct {
	c       *cluster.Cluster
	checker *cluster.Checker
	say     func(format string, args ...any)

	mu                       sync.Mutex
	submitted, changed, gone int // placements
	unanswered, notFound     int
	errs                     []error
}

// app is one app's text, in its versions.
type app struct {
	owner, name string
	token       bool
}

func (a app) version(n int) placement.App {
	request := placement.Request{
		V: placement.Format, Image: "hello:latest",
		Env:   []string{fmt.Sprintf("GREETING=version %d", n), "PORT=0"}, // any port: they share net containers
		Needs: placement.Resources{CPU: 5, Memory: 8 << 20},
	}
	web := request
	if a.token {
		web.HAToken = a.name + "-web"
	}
	return placement.App{V: placement.Format, Owner: a.owner, Name: a.name, Services: []placement.Service{
		{Name: "job", Replicas: perApp - 3, Request: request},
		{Name: "web", Replicas: 3, Request: web},
	}}
}

func (a app) replicas() (all []placement.Replica) {
	for _, s := range a.version(0).Services {
		for n := range s.Replicas {
			all = append(all, placement.NewReplica(a.owner, a.name, s.Name, n+1))
		}
	}
	return all
}

// work does the work on every width-th app from the first on, evenly over the
// time: every app is submitted, every second one changed, every fifth removed,
// and of these every second submitted again.
func (l *load) work(ctx context.Context, r *rand.Rand, first, width, apps int, over time.Duration) {
	var jobs []func(context.Context) error
	for i := first; i < apps; i += width {
		a := app{owner: []string{"alice", "bob"}[i%2], name: fmt.Sprintf("app%d", i), token: i%4 < 2}
		steps := []func(context.Context) error{func(ctx context.Context) error { return l.submit(ctx, a, 1) }}
		if i/2%2 == 0 {
			steps = append(steps, func(ctx context.Context) error { return l.submit(ctx, a, 2) })
		}
		if i%5 == 0 {
			steps = append(steps, func(ctx context.Context) error { return l.remove(ctx, a) })
		}
		if i%10 == 0 {
			steps = append(steps, func(ctx context.Context) error { return l.submit(ctx, a, 3) })
		}
		jobs = weave(r, jobs, steps)
	}
	pace := time.NewTicker(over / time.Duration(max(1, len(jobs))))
	defer pace.Stop()
	for _, job := range jobs {
		if err := job(ctx); err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, err)
			l.mu.Unlock()
			return
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
	}
}

// weave puts b among a; both keep their order.
func weave[T any](r *rand.Rand, a, b []T) []T {
	var out []T
	for len(a)+len(b) > 0 {
		if r.IntN(len(a)+len(b)) < len(a) {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return out
}

func (l *load) submit(ctx context.Context, a app, version int) error {
	all := a.replicas()
	l.checker.WantRequest("", all...)
	if a.token {
		l.checker.WantApart(a.name+"-web", all[perApp-3:]...)
	}
	var answer placement.Submitted
	if _, err := l.insist(ctx, "submit "+a.name, "submit", &answer, a.version(version)); err != nil {
		return err
	}
	for _, s := range []string{"web", "job"} {
		if answer.Digests[s] == "" {
			return fmt.Errorf("submit of %s/%s names no request of %s: %+v", a.owner, a.name, s, answer)
		}
		for _, r := range all {
			if r.Service() == s {
				l.checker.WantRequest(answer.Digests[s], r)
			}
		}
	}
	l.checker.Want(time.Now(), all...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if version == 2 {
		l.changed += len(all)
	} else {
		l.submitted += len(all)
	}
	return nil
}

func (l *load) remove(ctx context.Context, a app) error {
	l.checker.Forget(a.replicas()...)
	var removed []placement.Replica
	tries, err := l.insist(ctx, "remove "+a.name, "remove", &removed, placement.Filter{Owner: a.owner, App: a.name})
	if remote, ok := errors.AsType[*rpc.RemoteError](err); ok && remote.Name == placement.KindNotFound && tries > 1 {
		err = nil // an earlier try, which got no answer, had done it
		l.mu.Lock()
		l.notFound++
		l.mu.Unlock()
	}
	if err != nil {
		return err
	}
	l.checker.Unwant(time.Now(), a.replicas()...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone += len(a.replicas())
	return nil
}

// insist calls until an answer comes. An answer that says that the request
// itself is at fault is an error.
func (l *load) insist(ctx context.Context, what, method string, result any, args ...any) (tries int, err error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		tries++
		if err = l.c.Call(method, result, args...); err == nil {
			return tries, nil
		}
		if remote, ok := errors.AsType[*rpc.RemoteError](err); ok {
			switch remote.Name {
			case placement.KindInvalid, placement.KindNotFound, placement.KindRefused:
				return tries, fmt.Errorf("%s: %w", what, err)
			}
			l.say("%s: try %d: %v", what, tries, err)
		}
		l.mu.Lock()
		l.unanswered++
		l.mu.Unlock()
		if since := time.Since(began); since > time.Minute {
			return tries, fmt.Errorf("%s: no answer in %.0f s and %d tries: %w", what, since.Seconds(), tries, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return tries, ctx.Err()
		}
	}
}
