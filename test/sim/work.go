package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

// owners is how many owners there are; each is one client.
const owners = 4

// work is what the owners ask for. wish is what each asked for last and was
// told is durable; a request without an answer is repeated until it has one.
type work struct {
	w          *world
	wish       map[string]map[string]placement.App // by owner, app; the deliveries'
	busy       int                                 // owners not done yet
	rolledBack bool                                // the ledger forgot something: owners say all again
}

// step is one thing that an owner asks for.
type step struct {
	at     time.Duration
	what   string
	submit *placement.App
	remove string // app
	again  string // app: as wished, if the ledger may have forgotten it
	node   *placement.NodeChange
}

// startWork begins the owners' clients.
func (w *world) startWork() {
	w.work = &work{w: w, wish: map[string]map[string]placement.App{}}
	for i := range owners {
		owner := "o" + strconv.Itoa(i)
		w.work.wish[owner] = map[string]placement.App{}
		steps := w.plan(owner, i)
		w.work.busy++
		w.spawn(w.clientHost, owner, func(p *process) error {
			c := &client{p: p}
			defer c.hangUp()
			for _, s := range steps {
				c.do(s)
			}
			p.act("done", func() { w.work.busy-- })
			return nil
		})
	}
}

// client calls the broadcaster for one owner, one call after the other.
type client struct {
	p    *process
	link *rpc.Link
}

func (c *client) do(s step) {
	e := c.p.w.e
	if wait := s.at - e.now(); wait > 0 {
		c.p.sleep(wait)
	}
	if s.again != "" && !c.p.act("wish", func() { s = c.p.w.work.repeat(ownerOf(c.p), s) }) || s.again != "" {
		return
	}
	for c.p.ctx.Err() == nil {
		err := c.try(s)
		var remote *rpc.RemoteError
		if err == nil || asRemote(err, &remote) && (remote.Name == placement.KindNotFound || remote.Name == placement.KindInvalid) {
			c.p.act(s.what, func() { c.p.w.work.done(c.p, s, err) })
			return
		}
		c.p.sleep(e.between(time.Second, 2*time.Second, c.p.name, "again"))
	}
}

func (c *client) try(s step) error {
	ctx, stop := context.WithTimeout(c.p.ctx, 9700*time.Millisecond) // not twice the heartbeat, to the nanosecond
	defer stop()
	if c.link == nil || c.link.Err() != nil {
		link, err := rpc.Dial(ctx, port{c.p.w.net, c.p}, serverAddr, rpc.Config{Identity: c.p.name, Logger: c.p.w.logger})
		if err != nil {
			return err
		}
		c.link = link
	}
	owner := ownerOf(c.p)
	var err error
	switch {
	case s.submit != nil:
		err = c.link.Call(ctx, "submit", nil, *s.submit)
	case s.remove != "":
		err = c.link.Call(ctx, "remove", nil, placement.Filter{Owner: owner, App: s.remove})
	case s.node != nil:
		err = c.link.Call(ctx, "node_change", nil, *s.node)
	default:
		err = c.link.Call(ctx, "retry", nil, placement.Filter{Owner: owner})
	}
	if err != nil && !asRemote(err, new(*rpc.RemoteError)) {
		c.hangUp()
	}
	return err
}

func (c *client) hangUp() {
	if c.link != nil {
		c.link.Close()
		c.link = nil
	}
}

// repeat is what an owner says again about an app: nothing, if nothing was
// forgotten.
func (k *work) repeat(owner string, s step) step {
	app, wished := k.wish[owner][s.again]
	switch {
	case !k.rolledBack:
		return s
	case wished:
		return step{what: s.what, submit: &app}
	default:
		return step{what: s.what, remove: s.again}
	}
}

// done takes in what an owner was told.
func (k *work) done(p *process, s step, err error) {
	owner := ownerOf(p)
	k.w.tell("%s: %s: %s", owner, s.what, cmp.Or(errText(err), "done"))
	switch {
	case s.submit != nil && err == nil:
		k.wish[owner][s.submit.Name] = *s.submit
	case s.submit != nil:
		k.w.judge.say("%s: %s was refused: %v", owner, s.what, err)
	case s.remove != "":
		delete(k.wish[owner], s.remove)
	}
}

// plan is all that an owner will ask for: their apps in the beginning, and a
// change every now and then.
func (w *world) plan(owner string, i int) []step {
	r := rand.New(rand.NewPCG(w.cfg.Seed, fnv("plan "+owner)))
	var steps []step
	var apps []placement.App
	left := w.cfg.Placements / owners
	for n := 0; left > 0; n++ {
		app := w.newApp(r, owner, n, &left)
		apps = append(apps, app)
		steps = append(steps, step{at: time.Duration(r.Int64N(int64(20 * time.Second))), what: "submits " + app.Name, submit: &app})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for at := time.Minute; at < w.cfg.Length; at += time.Duration(r.Int64N(int64(2*time.Minute))) + 5*time.Second {
		steps = append(steps, w.change(r, owner, apps, at, i))
	}
	for n, app := range apps {
		at := w.cfg.Length + time.Duration(n+1)*100*time.Millisecond
		steps = append(steps, step{at: at, what: "says again " + app.Name, again: app.Name})
	}
	return append(steps, step{at: w.cfg.Length + 10*time.Second + time.Duration(r.Int64N(int64(time.Second))), what: "retries what failed"})
}

// change is one change of mind.
func (w *world) change(r *rand.Rand, owner string, apps []placement.App, at time.Duration, i int) step {
	n := r.IntN(len(apps))
	app := apps[n]
	switch k := r.IntN(10); {
	case k < 4: // another version
		app.Services = slices.Clone(app.Services)
		s := r.IntN(len(app.Services))
		app.Services[s].Request.Env = []string{fmt.Sprintf("VERSION=%d", r.IntN(1000))}
		apps[n] = app
		return step{at: at, what: "changes " + app.Name, submit: &app}
	case k < 6: // more or fewer
		app.Services = slices.Clone(app.Services)
		s := r.IntN(len(app.Services))
		app.Services[s].Replicas = max(1, app.Services[s].Replicas+r.IntN(3)-1)
		apps[n] = app
		return step{at: at, what: fmt.Sprintf("scales %s/%s to %d", app.Name, app.Services[s].Name, app.Services[s].Replicas), submit: &app}
	case k < 7:
		return step{at: at, what: "removes " + app.Name, remove: app.Name}
	case k < 9:
		return step{at: at, what: "submits " + app.Name, submit: &app}
	default:
		return step{at: at, what: "retries what failed"}
	}
}

// newApp is an app of a few services; left is how many replicas are still to
// be asked for.
func (w *world) newApp(r *rand.Rand, owner string, n int, left *int) placement.App {
	app := placement.App{V: placement.Format, Owner: owner, Name: "app" + strconv.Itoa(n)}
	for s := range 1 + r.IntN(3) {
		if *left <= 0 && s > 0 {
			break
		}
		svc := placement.Service{Name: "s" + strconv.Itoa(s), Replicas: min(1+r.IntN(8), max(*left, 1))}
		svc.Request = placement.Request{
			V: placement.Format, Image: fmt.Sprintf("%s/app%d@sha256:%064x", owner, n, s),
			Needs: placement.Resources{CPU: int64(50 + 50*r.IntN(8)), Memory: int64(64+64*r.IntN(6)) << 20},
		}
		w.flavour(r, &svc, owner, n, s)
		*left -= svc.Replicas
		app.Services = append(app.Services, svc)
	}
	return app
}

// flavour makes some services something special.
func (w *world) flavour(r *rand.Rand, svc *placement.Service, owner string, n, s int) {
	switch k := r.IntN(20); {
	case k < 4: // kept apart
		svc.Replicas = min(svc.Replicas, max(1, w.cfg.Nodes/4))
		svc.Request.HAToken = fmt.Sprintf("%s-%d-%d", owner, n, s)
	case k < 6: // runs once
		svc.Request.Restart, svc.Request.Command = placement.RestartNo, []string{"job", strconv.Itoa(5 + r.IntN(120)), strconv.Itoa(r.IntN(2))}
	case k < 7: // fails, and is tried again
		svc.Request.Restart, svc.Request.Retries = placement.RestartOnFailure, 2
		svc.Request.Command = []string{"job", strconv.Itoa(5 + r.IntN(60)), "1"}
	case k < 8: // fits nowhere, and gives up
		svc.Replicas, svc.Deadline = 1, 90_000
		svc.Request.Needs.Memory = 1 << 50
	case k < 9: // fits nowhere
		svc.Replicas = 1
		svc.Request.Needs.Memory = 1 << 50
	case k < 10:
		svc.Request.LostAfter = placement.Millis(5000 + r.Int64N(115_000))
	}
}
