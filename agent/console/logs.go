package console

import (
	"context"
	"errors"
	"reflect"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

// Piece is one item of a stream of output.
type Piece struct {
	Stream dockerd.Stream `json:"stream,omitempty"` // "stdout" or "stderr"
	Data   any            `json:"data,omitempty"`   // str, or bin where it is not UTF-8
}

// LogOptions choose what of a container's output is read.
type LogOptions struct {
	Follow     bool             `json:"follow"`     // go on until the container ends
	Tail       int              `json:"tail"`       // at most so many of the newest lines; 0: all
	Since      placement.Millis `json:"since"`      // only what came within so many ms; 0: all
	Timestamps bool             `json:"timestamps"` // each line begins with when it came
}

// Stats is one item of container_stats.
type Stats struct {
	CPU         int64            `json:"cpu"`          // thousandths of a core, since the item before; of the first, 0
	CPUTime     placement.Millis `json:"cpu_ms"`       // since it started
	Memory      int64            `json:"memory"`       // bytes that cannot be freed
	Pids        int              `json:"pids"`         // processes and threads
	LimitCPU    int64            `json:"limit_cpu"`    // thousandths of a core; 0: none
	LimitMemory int64            `json:"limit_memory"` // bytes; 0: none
}

func (c *Console) logMethods() rpc.Methods {
	return rpc.Methods{"container_logs": {
		Doc:      "Stream a container's output as items {stream: stdout or stderr, data}. Options: follow (bool), tail (newest lines), since (ms ago), timestamps (bool).",
		Args:     []string{"container", "options"},
		In:       []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[LogOptions]()},
		Defaults: []any{map[string]any{}},
		Stream:   c.logs,
	}}
}

func (c *Console) logs(ctx context.Context, call *rpc.Call, send func(any) error) error {
	var name string
	var o LogOptions
	if err := call.Decode(&name, &o); err != nil {
		return err
	}
	if o.Tail < 0 || o.Since < 0 {
		return &placement.Error{Kind: placement.KindInvalid, What: "tail and since cannot be negative", Next: "leave out what is not wanted"}
	}
	id, err := c.find(call, name)
	if err != nil {
		return err
	}
	q := dockerd.LogQuery{Follow: o.Follow, Tail: o.Tail, Since: o.Since.Duration(), Stamps: o.Timestamps}
	var p pieces
	if err := c.Insides.Logs(ctx, id, q, p.to(send)); err != nil {
		return err
	}
	return p.flush(send)
}

// to sends what comes, piece by piece.
func (p *pieces) to(send func(any) error) dockerd.Output {
	return func(from dockerd.Stream, b []byte) error {
		if b = p.next(from, b); len(b) == 0 {
			return nil
		}
		return send(Piece{from, text(b)})
	}
}

// flush sends the bytes that never became a character.
func (p *pieces) flush(send func(any) error) error {
	for _, from := range []dockerd.Stream{dockerd.Stdout, dockerd.Stderr} {
		if b := p.rest[from]; len(b) > 0 {
			if err := send(Piece{from, text(b)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// stats sends an item now and each second.
func (c *Console) stats(ctx context.Context, id placement.ID, send func(any) error) error {
	asking, stop := context.WithTimeout(ctx, patience)
	defer stop()
	d, err := c.Sights.Inspect(asking, id)
	if err != nil {
		return err
	}
	meter, err := c.Sights.Meter(asking, id)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before dockerd.Sample
	for last := (time.Time{}); ; {
		s, err := meter.Read()
		if errors.Is(err, dockerd.ErrEnded) {
			return nil
		}
		if err != nil {
			return err
		}
		now := time.Now()
		item := Stats{CPUTime: placement.Millis(s.CPU.Milliseconds()), Memory: s.Memory, Pids: s.Pids, LimitCPU: d.LimitCPU, LimitMemory: d.LimitMem}
		if !last.IsZero() {
			item.CPU = int64(1000 * (s.CPU - before.CPU) / max(now.Sub(last), 1))
		}
		if err := send(item); err != nil {
			return err
		}
		before, last = s, now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
