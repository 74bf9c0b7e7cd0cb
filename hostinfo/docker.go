package hostinfo

import (
	"context"
	"sync"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
)

// Observer looks at the daemons of a node; [dockerd.Observer] does.
type Observer interface {
	List(ctx context.Context) (dockerd.Listing, error)
	Watch(ctx context.Context, f func(dockerd.Event)) error
	// Used tells CPU time as a sum that grows.
	Used(ctx context.Context) (dockerd.Usage, error)
	// Disk measures disk for the next Used; it may take long.
	Disk(ctx context.Context) error
}

// Docker is a runtime that looks through o.
func Docker(o Observer) Runtime { return &daemons{o: o} }

type daemons struct {
	o Observer

	mu    sync.Mutex
	cpu   time.Duration // at the last call of Used
	asked time.Time
}

func (d *daemons) List(ctx context.Context) (Listing, error) {
	l, err := d.o.List(ctx)
	return Listing{Daemons: l.Daemons, Copies: l.Copies}, err
}

func (d *daemons) Watch(ctx context.Context, f func(Event)) error {
	return d.o.Watch(ctx, func(e dockerd.Event) { f(Event(e)) })
}

func (d *daemons) Measure(ctx context.Context) error { return d.o.Disk(ctx) }

func (d *daemons) Used(ctx context.Context) (placement.Resources, error) {
	u, err := d.o.Used(ctx)
	if err != nil {
		return placement.Resources{}, err
	}
	return placement.Resources{CPU: d.rate(u.CPU, time.Now()), Memory: u.Memory, Disk: u.Disk}, nil
}

// rate is thousandths of a core since the call before; 0 at the first, and
// when the sum fell because an owner went.
func (d *daemons) rate(cpu time.Duration, now time.Time) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	spent, passed, first := cpu-d.cpu, now.Sub(d.asked), d.asked.IsZero()
	d.cpu, d.asked = cpu, now
	if first || spent <= 0 || passed <= 0 {
		return 0
	}
	return int64(1000 * spent.Seconds() / passed.Seconds())
}
