package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/docker/docker/client"
)

// bringUp makes everything of the owner's daemon be there, from the
// directories to the net container, whatever was there before. unlock is never
// nil and must be called once the daemon is no longer supervised.
func (d *daemon) bringUp(ctx context.Context) (_ *conn, unlock func(), err error) {
	unlock = func() {}
	if err := makeDirs(d.paths, d.owner); err != nil {
		return nil, unlock, err
	}
	lock, err := lockRoot(d.paths)
	if err != nil {
		return nil, unlock, err
	}
	unlock = func() { unlockRoot(lock) }
	net, err := d.h.net.EnsureUser(ctx, d.owner)
	if err != nil {
		return nil, unlock, fmt.Errorf("network of %s: %w", d.owner, err)
	}
	c, err := d.launch(ctx, net)
	if err != nil {
		return nil, unlock, err
	}
	c.listen(ctx) // before the list in ensureNets, so that no death is missed
	if err := d.furnish(ctx, c); err != nil {
		c.end()
		return nil, unlock, err
	}
	return c, unlock, nil
}

// furnish makes the network and the net containers.
func (d *daemon) furnish(ctx context.Context, c *conn) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.ensureNetwork(ctx, c); err != nil {
		return err
	}
	return d.ensureNets(ctx, c, true)
}

// launch starts dockerd unless it runs, and returns when it answers.
func (d *daemon) launch(ctx context.Context, net UserNet) (*conn, error) {
	u := d.unit(net)
	running, err := d.h.manager.Running(ctx, u)
	if err != nil {
		return nil, err
	}
	if !running {
		if err := d.start(ctx, u); err != nil {
			return nil, err
		}
	}
	cli, err := connect(d.paths)
	if err != nil {
		return nil, err
	}
	pid, err := d.answer(ctx, cli, u)
	if err != nil {
		_ = cli.Close()                             // it always says nil
		if running && errors.Is(err, errPatience) { // it hangs
			err = errors.Join(err, d.h.manager.Stop(ctx, u))
		}
		return nil, err
	}
	return &conn{Client: cli, pid: pid, net: net, starts: d.starts, stop: func() {}}, nil
}

func (d *daemon) start(ctx context.Context, u Unit) error {
	if err := clearStale(ctx, d.paths); err != nil {
		return err
	}
	if info, err := os.Stat(u.Log); err == nil && info.Size() > 10<<20 {
		if err := os.Truncate(u.Log, 0); err != nil {
			return fmt.Errorf("truncate log: %w", err)
		}
	}
	return d.h.manager.Start(ctx, u)
}

// answer waits until dockerd answers, and gives its pid.
func (d *daemon) answer(ctx context.Context, cli *client.Client, u Unit) (pid int, err error) {
	err = until(ctx, answerIn, func() (bool, error) {
		once, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := cli.Ping(once); err == nil {
			pid = readPID(d.paths.pid)
			return alive(pid, d.paths.exec), nil
		}
		running, err := d.h.manager.Running(ctx, u)
		if err == nil && !running {
			err = fmt.Errorf("dockerd ended at once: %s", logTail(u.Log))
		}
		return false, err
	})
	if errors.Is(err, errPatience) {
		err = fmt.Errorf("dockerd did not answer within %s: %w: %s", answerIn, err, logTail(u.Log))
	}
	return pid, err
}

// connect makes a client for the daemon's socket; nothing is sent yet.
func connect(p paths) (*client.Client, error) {
	cli, err := client.NewClientWithOpts(client.WithHost("unix://"+p.sock), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("connect to dockerd: %w", err)
	}
	return cli, nil
}

// unit is the daemon as a process.
func (d *daemon) unit(net UserNet) Unit {
	c, p := d.h.cfg, d.paths
	program, driver := c.Dockerd, "cgroupfs"
	if program == "" {
		program = "dockerd"
	}
	if c.Systemd {
		driver = "systemd"
	}
	return Unit{ID: p.id, Log: filepath.Join(p.state, "dockerd.log"), ExecRoot: p.exec, Argv: []string{
		program,
		"--config-file", filepath.Join(p.state, "daemon.json"),
		"--data-root", p.root,
		"--exec-root", p.exec,
		"--pidfile", p.pid,
		"--host", "unix://" + p.sock,
		"--group", "root",
		"--bridge", net.Idle, // the network in use is made later, with fixed addresses
		"--iptables=false",
		"--ip-masq=false",
		"--live-restore",
		"--log-level", "warn",
		"--log-driver", "json-file",
		"--log-opt", "max-size=10m",
		"--log-opt", "max-file=3",
		"--exec-opt", "native.cgroupdriver=" + driver,
		"--cgroup-parent", CgroupParent(c.Systemd, c.nodeID(), p.id),
		"--max-concurrent-downloads", "64", // a slow pull must not take all the slots
	}}
}
