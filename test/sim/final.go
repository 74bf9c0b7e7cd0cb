package sim

import (
	"cmp"
	"slices"
	"strconv"

	"longshore/internal/placement"
)

// full compares all that the judge believes with the daemons, and every node
// with its room.
func (j *judge) full() {
	runs := 0
	for _, n := range j.w.nodes {
		j.created(n, nil)
		for _, c := range n.docker.all() {
			if c.State == placement.CopyRunning {
				runs++
			}
		}
	}
	known := 0
	for _, list := range j.runs {
		known += len(list)
	}
	if runs != known {
		j.say("the judge lost count: %d copies run, it knows of %d", runs, known)
	}
}

// final judges the cluster at rest: all faults are healed for long.
func (w *world) final() {
	j := w.judge
	j.full()
	if w.work.busy > 0 {
		j.say("%d owners still wait for an answer", w.work.busy)
		return
	}
	copies := map[placement.ID][]sighting{}
	for _, n := range w.nodes {
		for _, c := range n.docker.all() {
			copies[c.ID] = append(copies[c.ID], sighting{n, c})
		}
	}
	lives := map[placement.Replica][]placement.ID{}
	for _, id := range sortedKeys(j.recs) {
		if !j.recs[id].tomb {
			lives[id.Replica()] = append(lives[id.Replica()], id)
		}
	}
	wished := map[placement.Replica]bool{}
	for _, owner := range sortedKeys(w.work.wish) {
		for _, name := range sortedKeys(w.work.wish[owner]) {
			w.finalApp(w.work.wish[owner][name], lives, copies, wished)
		}
	}
	for _, r := range sortedKeys(lives) {
		if !wished[r] {
			j.say("at the end nobody wishes %s, and the ledger has it: %s", r, lives[r])
		}
	}
	for _, id := range sortedKeys(copies) {
		for _, s := range copies[id] {
			k := j.recs[id]
			switch {
			case k == nil && s.c.State != placement.CopyRunning: // of a lost history: quarantined
			case k == nil || k.tomb:
				j.say("at the end %s has a copy of %s, which is gone: %s", s.n.id, id, s.c.State)
			case s.c.State == placement.CopyRunning && (!k.rec.Live() || !k.rec.Bound.Is(s.n.id, s.c.Epoch)):
				j.say("at the end %s runs %s at %s, unbound (%s%s)", s.n.id, id, short(s.c.Epoch), k.rec.State, where(k.rec))
			}
		}
	}
}

// sighting is a container where it is.
type sighting struct {
	n *node
	c *container
}

// finalApp judges every replica that an owner wishes.
func (w *world) finalApp(app placement.App, lives map[placement.Replica][]placement.ID, copies map[placement.ID][]sighting, wished map[placement.Replica]bool) {
	for _, s := range app.Services {
		digest := s.Request.Digest()
		for i := range s.Replicas {
			r := placement.NewReplica(app.Owner, app.Name, s.Name, i+1)
			wished[r] = true
			w.finalReplica(r, s, digest, lives[r], copies)
		}
	}
}

func (w *world) finalReplica(r placement.Replica, s placement.Service, digest string, lives []placement.ID, copies map[placement.ID][]sighting) {
	j := w.judge
	if len(lives) != 1 {
		j.say("at the end %s has %d lives: %s", r, len(lives), lives)
		return
	}
	rec := j.recs[lives[0]].rec
	if rec.Digest != digest {
		j.say("at the end %s is %s of another request than the last one submitted", r, rec.State)
	}
	running := slices.DeleteFunc(slices.Clone(copies[rec.ID]), func(s sighting) bool { return s.c.State != placement.CopyRunning })
	ends := s.Request.Restart != placement.RestartAlways
	switch rec.State {
	case placement.Running:
		if len(running) != 1 {
			j.say("at the end %s is running and has %d running copies", r, len(running))
		}
	case placement.Bound: // between two restarts, maybe
		if !ends {
			j.say("at the end %s is still starting on %s", r, rec.Bound.Node)
		}
	case placement.Done:
		if !ends {
			j.say("at the end %s is done and was to be kept running: %s", r, rec.Why)
		}
	case placement.Dead:
		if s.Deadline == 0 || rec.Why == "" {
			j.say("at the end %s is failed: %q", r, rec.Why)
		}
	case placement.Pending:
		w.finalWaiting(r, s)
	default:
		j.say("at the end %s is %s", r, rec.State)
	}
}

// finalWaiting: what waits fits nowhere, and the ledger knows why.
func (w *world) finalWaiting(r placement.Replica, s placement.Service) {
	status, err := w.ledger.Explain(w.ctx, r)
	if err != nil {
		w.judge.say("at the end %s waits, and cannot be explained: %v", r, err)
		return
	}
	if status.Why == "" {
		w.judge.say("at the end %s waits without a reason", r)
	}
	for _, n := range w.nodes {
		if n.fits(r, s.Request) {
			w.judge.say("at the end %s waits (%s) and would fit on %s", r, status.Why, n.id)
			return
		}
	}
}

// fits tells whether a node has room for one more of the request, and no
// replica of its token.
func (n *node) fits(r placement.Replica, req placement.Request) bool {
	room := n.capacity
	for _, c := range n.docker.all() {
		room = room.Minus(c.Needs)
		if req.HAToken != "" && c.request.HAToken == req.HAToken && c.ID.Owner() == r.Owner() {
			return false
		}
	}
	return room.Fits(req.Needs)
}

// Line is the last line of a run.
func (r Result) Line(cpu string) string {
	return "seed=" + strconv.FormatUint(r.Seed, 10) + " nodes=" + itoa(r.Nodes) + " trace=" + cmp.Or(r.Trace, "-") +
		" violations=" + itoa(len(r.Violations)) + " events=" + itoa(r.Events) + " cpu=" + cpu
}
