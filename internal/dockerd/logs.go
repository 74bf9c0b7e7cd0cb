package dockerd

import (
	"context"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"

	"longshore/internal/placement"
)

// LogQuery chooses what of a copy's output is read. The zero value is all that
// Docker kept: the newest 20 to 30 MB.
type LogQuery struct {
	Follow bool          // go on until the copy ends
	Tail   int           // at most so many of the newest lines; 0: all
	Since  time.Duration // only what came so long ago or later; 0: all
	Stamps bool          // each line begins with when it came, RFC 3339, and a space
}

// Logs hands on the output of a copy, running or not. It returns nil at the
// end of it: with Follow, when the copy has ended. Docker keeps three files of
// 10 MB: who follows a copy that writes faster than they read misses lines.
func (h *Host) Logs(ctx context.Context, id placement.ID, q LogQuery, out Output) error {
	c, have, err := h.reach(ctx, id)
	if err != nil {
		return err
	}
	o := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: q.Follow, Timestamps: q.Stamps, Tail: "all"}
	if q.Tail > 0 {
		o.Tail = strconv.Itoa(q.Tail)
	}
	if q.Since > 0 {
		o.Since = stamp(time.Now().Add(-q.Since))
	}
	what := "read the logs of " + string(id)
	body, err := c.ContainerLogs(ctx, have.ID, o)
	if err != nil {
		return classify(what, err)
	}
	defer body.Close()
	if err := demux(body, out); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}
