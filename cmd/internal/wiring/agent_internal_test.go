package wiring

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// parts are runs that note in which order they end.
type parts struct {
	mu    sync.Mutex
	ended []string
}

func (p *parts) run(name string, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err == nil {
			<-ctx.Done()
			err = ctx.Err()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = append(p.ended, name)
		return err
	}
}

func TestRunOver(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name         string
		below, above error
		want         error // nil: it runs until ctx ends
		last         string
	}{
		{name: "ended from outside", last: "below"},
		{name: "below fails", below: broken, want: broken, last: "above"},
		{name: "above fails", above: broken, want: broken, last: "below"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var p parts
			err := runOver(ctx,
				[]func(context.Context) error{p.run("below", c.below)},
				[]func(context.Context) error{p.run("above", c.above)},
				func() {
					if c.want == nil {
						cancel()
					}
				})
			if c.want == nil {
				if unlessEnded(ctx, err) != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, c.want) {
				t.Errorf("%v, not %v", err, c.want)
			}
			if len(p.ended) != 2 || slices.Index(p.ended, c.last) != 1 {
				t.Errorf("they ended in the order %v", p.ended)
			}
		})
	}
}
