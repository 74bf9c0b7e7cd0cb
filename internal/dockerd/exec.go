package dockerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"longshore/internal/placement"
)

// Stream says which of a process's outputs bytes came from.
type Stream string

// The outputs of a process.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Output takes bytes of a process as they come; it may keep them up to its
// return. It holds up its own stream alone. An error ends the stream.
type Output func(from Stream, b []byte) error

// Command is a program to run inside a copy's container.
type Command struct {
	Argv  []string
	Env   []string // "NAME=value", beside the container's own
	Dir   string   // "": the container's own
	User  string   // "": the container's own
	Stdin []byte   // its whole input; nil: none
}

// killLimit bounds the search for a process that is to be killed.
const killLimit = 5 * time.Second

// Exec runs a command inside the running copy of a placement and returns its
// exit code once it has ended and out has got all its output. When ctx ends or
// out fails, the process and all of its session are killed, and the error says
// why; nothing of it runs on unless it made itself a session of its own.
// A program that cannot be run is an exit code of 126 or 127, as in a shell,
// with Docker's word for it as output.
func (h *Host) Exec(ctx context.Context, id placement.ID, cmd Command, out Output) (exit int, err error) {
	c, have, err := h.reach(ctx, id)
	if err != nil {
		return 0, err
	}
	what := "exec in " + string(id)
	made, err := c.ContainerExecCreate(ctx, have.ID, container.ExecOptions{
		Cmd: cmd.Argv, Env: cmd.Env, WorkingDir: cmd.Dir, User: cmd.User,
		AttachStdin: cmd.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if errdefs.IsConflict(err) {
		return 0, &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("nothing can be run in %s", id.Replica()), Why: "its container does not run", Next: "start it first"}
	}
	if err != nil {
		return 0, classify(what, err)
	}
	attached, err := c.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, classify(what, err)
	}
	defer attached.Close()
	fed := make(chan struct{})
	go func() { // ends with the process, or with the connection
		defer close(fed)
		if _, err := io.Copy(attached.Conn, bytes.NewReader(cmd.Stdin)); err == nil {
			_ = attached.CloseWrite() // a process that ended reads no more
		}
	}()
	read := make(chan error, 1)
	go func() { read <- demux(attached.Reader, out) }()
	select {
	case err = <-read:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		err = h.kill(context.WithoutCancel(ctx), c, have.ID, made.ID, err)
	}
	attached.Close()
	<-fed
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return exitOf(ctx, c, made.ID, what)
}

// exitOf is the exit code of a process whose output has ended; for some
// milliseconds after that the engine still takes it for running.
func exitOf(ctx context.Context, c *conn, exec, what string) (code int, err error) {
	err = until(ctx, 10*time.Second, func() (bool, error) {
		have, err := c.ContainerExecInspect(ctx, exec)
		code = have.ExitCode
		return err == nil && !have.Running, err
	})
	return code, classify(what, err)
}

// kill ends a process that still runs, and gives why. One that is just being
// started is waited for.
func (h *Host) kill(ctx context.Context, c *conn, id, exec string, why error) error {
	err := until(ctx, killLimit, func() (bool, error) {
		have, err := c.ContainerExecInspect(ctx, exec)
		switch {
		case errdefs.IsNotFound(err): // its container is gone, and all in it
			return true, nil
		case err != nil:
			return false, err
		case !have.Running && have.Pid == 0 && have.ExitCode == 0:
			return false, nil
		case have.Running && have.Pid != 0:
			killSession(have.Pid, id)
			return false, nil
		}
		return !have.Running, nil
	})
	if err != nil {
		return errors.Join(why, fmt.Errorf("and it could not be killed: %w", err))
	}
	return why
}

// killSession kills the processes of the session that leader, a process of the
// container, leads: Docker gives each exec one of its own.
func killSession(leader int, container string) {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", leader)); err != nil || !bytes.Contains(b, []byte(container)) {
		return // it ended
	}
	all, _ := pids() // nothing to read: nothing is found
	for _, pid := range all {
		p, err := os.FindProcess(pid) // holds on to this process, whoever has its number later
		if err != nil {
			continue
		}
		if session(pid) == leader {
			_ = p.Kill() // it ended by itself
		}
		_ = p.Release() // always nil here
	}
}
