package dockerd

import "github.com/docker/docker/api/types/container"

// What tests of pure functions need beyond the API.
var (
	ExitCode    = exitCode
	MountsBelow = mountsBelow
	KindOf      = kindOf
	DaemonEnv   = daemonEnv
	Demux       = demux
)

func (s Spec) Limits(cores int) container.Resources { return s.limits(cores) }

func (h *Host) Reference(image string) (string, error) { return h.reference(image) }

func (c Config) Places(owner string) (state, root, run, exec, sock, pid string) {
	p := c.paths(owner)
	return p.state, p.root, p.run, p.exec, p.sock, p.pid
}
