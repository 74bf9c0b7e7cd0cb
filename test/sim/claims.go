package sim

import (
	"context"
	"errors"
	"time"

	"longshore/internal/claim"
	"longshore/internal/placement"
)

// redis is the table of claims that all agents share. It is the deliveries'.
type redis struct {
	w     *world
	table *claim.Table
	old   *claim.Table // as it was when a copy was taken: nobody claimed there since
	down  bool         // it refuses connections
	hangs bool         // it answers nobody
	lies  bool         // it grants everything to everybody
}

var errNoRedis = errors.New("redis: connection refused")

func newRedis(w *world) *redis { return &redis{w: w, table: newTable()} }

func newTable() *claim.Table {
	t, err := claim.NewTable(0)
	if err != nil { // the default is valid
		panic(err)
	}
	return t
}

// wipe is FLUSHALL, or a restart without a file.
func (r *redis) wipe() { r.old, r.table = r.table, newTable() }

// restore puts an old state back.
func (r *redis) restore() {
	if r.old != nil {
		r.table, r.old = r.old, r.table
	}
}

// claims are redis as one agent has it.
type claims struct {
	r *redis
	p *process
}

type granted struct {
	holder placement.NodeID
	ok     bool
}

func (c claims) ask(ctx context.Context, what string, id placement.ID, do func() (granted, error)) (granted, error) {
	e := c.p.w.e
	return call(ctx, c.p, e.between(100*time.Microsecond, 2*time.Millisecond, c.p.name, what, string(id)), what+string(id), func(done func(granted, error)) {
		r := c.r
		switch {
		case r.hangs || c.p.w.net.isBlocked(c.p.host, r.w.redisHost):
		case r.down:
			done(granted{}, errNoRedis)
		default:
			done(do())
		}
	})
}

// Acquire claims the placement's epoch for the node.
func (c claims) Acquire(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) (placement.NodeID, bool, error) {
	g, err := c.ask(ctx, "claim", id, func() (granted, error) {
		if c.r.lies {
			return granted{node, true}, nil
		}
		holder, ok, err := c.r.table.Acquire(context.WithoutCancel(ctx), id, e, node)
		return granted{holder, ok}, err
	})
	return g.holder, g.ok, err
}

// Release gives the claim up.
func (c claims) Release(ctx context.Context, id placement.ID, e placement.Epoch, node placement.NodeID) error {
	_, err := c.ask(ctx, "release", id, func() (granted, error) {
		return granted{}, c.r.table.Release(context.WithoutCancel(ctx), id, e, node)
	})
	return err
}
