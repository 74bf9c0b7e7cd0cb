package sim

import (
	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// fire counts the rule of the protocol that made one record of another.
func (j *judge) fire(old, rec rule.Record) {
	f := j.w.fired
	switch {
	case old.ID == "":
		f["submitted"]++
	case old.State != rec.State && rec.State == placement.Cancelled:
		f["cancelled"]++
	case old.State != rec.State && rec.State == placement.Dead:
		f["dead"]++
	case old.State != rec.State && rec.State == placement.Done:
		f["done"]++
	case old.State == placement.Dead && rec.State == placement.Pending:
		f["retried"]++
	case !old.Live() && rec.Live():
		j.fireBound(old, rec)
	case old.Live() && rec.State == placement.Pending && rec.Last == nil:
		f["lost by absence"]++ // or a refused start, or an exit on a draining node
	case old.Live() && rec.State == placement.Pending:
		f["lost by silence"]++ // or a late start
	case old.Live() && rec.Live() && rec.Restarts > old.Restarts:
		f["resume"]++
	case old.Last != nil && rec.Last == nil:
		f["condemned"]++
	}
}

func (j *judge) fireBound(old, rec rule.Record) {
	switch {
	case !old.Last.Is(rec.Bound.Node, rec.Bound.Epoch):
		j.w.fired["bound"]++
	case rec.State == placement.Running:
		j.w.fired["adopt by report"]++
	default:
		j.w.fired["adopt by bind"]++
	}
}
