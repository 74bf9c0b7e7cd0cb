package cluster

import (
	"os"
	"path/filepath"
	"strings"
)

// keepLogs keeps what the processes wrote, in the directory that the
// environment's LOGS names, if it does.
func (c *Cluster) keepLogs() {
	dir := os.Getenv("LOGS")
	if dir == "" {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "*.log")) // the patterns are right
	daemons, _ := filepath.Glob(filepath.Join(c.Dir, "nodes/*/docker/daemons/*/*.log"))
	for _, log := range append(logs, daemons...) {
		name := strings.ReplaceAll(strings.TrimPrefix(log, c.Dir+"/"), "/", "_")
		b, err := os.ReadFile(log)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			c.t.Error(err)
		}
	}
}

func (c *Cluster) showLogs() {
	for _, p := range []*Process{c.Redis, c.Broadcaster} {
		if p != nil {
			c.t.Log(p.Tail())
		}
	}
	for _, n := range c.Nodes {
		c.t.Log(n.Agent.Tail())
		c.t.Log(n.Hostinfo.Tail())
	}
}
