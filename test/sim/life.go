package sim

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"longshore/rpc"
)

// live lets a container live: one that is a job ends after a while.
func (w *world) live(d *docker, c *container) {
	cmd := c.request.Command
	if len(cmd) != 3 || cmd[0] != "job" {
		return
	}
	seconds, _ := strconv.Atoi(cmd[1]) // the plan wrote them
	code, _ := strconv.Atoi(cmd[2])
	starts := c.starts
	w.e.after(time.Duration(seconds)*time.Second+w.e.between(0, time.Second, string(c.ID), "job"), fnv(string(c.ID)), func() {
		if c.starts == starts && !d.node.host.down {
			d.exit(c, code)
		}
	})
}

func asRemote(err error, into **rpc.RemoteError) bool { return errors.As(err, into) }

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func itoa(n int) string { return strconv.Itoa(n) }

// ownerOf is whose client the process is.
func ownerOf(p *process) string {
	owner, _, _ := strings.Cut(strings.TrimPrefix(p.name, "client/"), ".")
	return owner
}
