package rule

import (
	"cmp"
	"slices"

	"longshore/internal/placement"
)

// A ledger that was rolled back, or lost and made anew, meets copies of
// placements that it does not know. It takes them in at the end of its hold,
// from the requests that their nodes keep: first the lives of each replica
// ([TakeIn]), then the wish of each app is made to agree with them ([Rewish]).
// Both may be repeated, and go on from wherever a killed ledger left off.

// Found is a placement that nodes show and that the ledger does not know.
type Found struct {
	ID      placement.ID
	Request placement.Request // from the file of a node that shows it
	Digest  string            // of Request
	Copy    placement.Copy    // the running one of the highest epoch, else the highest
	Holder  placement.Holder  // who has that copy
	Next    placement.Epoch   // a new one
}

// Life is the life of the placement.
func (f Found) Life() placement.Life { return f.ID.Life() }

// TakeIn adds found lives to a replica, and says what their records are. The
// newest of all its lives, known or found, is the wanted one; if that is a
// found one, the life that was wanted before (replaced, "" if there was none)
// is the caller's to cancel.
//
//	wanted, running                          PENDING, the copy may be adopted
//	wanted, exited, and the restart policy
//	    ends it at that                      DONE
//	wanted, exited otherwise                 PENDING, the copy may be adopted
//	wanted, created                          PENDING
//	not wanted                               CANCELLED, gone when the copy is
func TakeIn(replica Replica, found []Found) (next Replica, records []Record, replaced placement.Life) {
	found = slices.SortedFunc(slices.Values(found), func(a, b Found) int { return cmp.Compare(a.Life(), b.Life()) })
	if len(found) == 0 {
		return replica, nil, ""
	}
	newest := found[len(found)-1].Life()
	if n := len(replica.Lives); n == 0 || newest > replica.Lives[n-1] {
		replaced, replica.Wanted, replica.Ended = replica.Wanted, newest, nil
	}
	replica.Lives = slices.Clone(replica.Lives)
	for _, f := range found {
		replica.Lives = append(replica.Lives, f.Life())
		records = append(records, f.record(f.Life() == replica.Wanted))
	}
	slices.Sort(replica.Lives)
	return replica, records, replaced
}

func (f Found) record(wanted bool) Record {
	holder := f.Holder
	r := Record{V: placement.Format, ID: f.ID, State: placement.Pending, Epoch: f.Next, Request: f.Request, Digest: f.Digest}
	if !wanted {
		r.State, r.Bound, r.Why = placement.Cancelled, &holder, "a newer life took its place"
		return r
	}
	switch f.Copy.State {
	case placement.CopyCreated, placement.CopyGone:
	case placement.CopyRunning:
		r.Last = &holder
	case placement.CopyExited:
		code := f.Copy.Exit
		why, done := ended(r, code)
		if done {
			r.State, r.Exit, r.Why, r.Home = placement.Done, &code, why, holder.Node
			break
		}
		r.Last = &holder
	}
	return r
}

// Rewish makes an app's wish agree with those wanted lives of its replicas that
// were begun after the wish was made, for a later one that the ledger lost. Of
// each of their services the newest life has the wished request, and as many
// replicas are wished as the highest number among them, if that is more than
// before. An app that was not there, or was removed before they began, is there
// again. What has no such life stays as it is wished: nothing proves that it
// was changed. Without such lives, or if wish and lives agree, it is unchanged.
func Rewish(app App, have []Standing) (next App, changed bool) {
	newest, most := make(map[string]Record), make(map[string]int)
	for _, s := range have {
		if s.Wanted == nil || s.Wanted.ID.Life() <= app.Since {
			continue
		}
		name := s.Replica.Replica
		app.Owner, app.Name = name.Owner(), name.App()
		service := name.Service()
		most[service] = max(most[service], name.Number())
		if s.Wanted.ID.Life() > newest[service].ID.Life() {
			newest[service] = *s.Wanted
		}
	}
	services := slices.Clone(app.Wish.Services)
	for service, life := range newest {
		i := slices.IndexFunc(services, func(s placement.Service) bool { return s.Name == service })
		if i < 0 {
			services = append(services, placement.Service{Name: service})
			i = len(services) - 1
		}
		s := &services[i]
		if s.Replicas >= most[service] && s.Request.Digest() == life.Digest {
			continue
		}
		s.Replicas, s.Request, changed = max(s.Replicas, most[service]), life.Request, true
	}
	if !changed {
		return app, false
	}
	slices.SortFunc(services, func(a, b placement.Service) int { return cmp.Compare(a.Name, b.Name) })
	app.V, app.Removed = placement.Format, false
	app.Wish = placement.App{V: placement.Format, Owner: app.Owner, Name: app.Name, Services: services}
	app.Revision++
	return app, true
}
