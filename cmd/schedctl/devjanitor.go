package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"longshore/internal/hostnet"
)

// devVariable is in the environment of whatever a dev starts. Its value is the
// cluster's name.
const devVariable = "LONGSHORE_DEV"

// janitor is the process that removes a dev cluster from the machine when its
// `schedctl dev` ends, however that ends: it waits for the end of a pipe that
// the dev holds open, and it holds the lock with it.
type janitor struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

// startJanitor starts it in a session of its own, where no terminal's signals
// reach it. From then on what this process starts bears the cluster's name.
func startJanitor(name string, lock *os.File, stdout, stderr io.Writer) (*janitor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "dev-janitor", name, strconv.Itoa(session)) //nolint:noctx // it outlives us by design
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process that cleans up: %w", err)
	}
	return &janitor{cmd, pipe}, os.Setenv(devVariable, name)
}

// clean lets the janitor do its work and waits until it is done.
func (j *janitor) clean() error {
	j.pipe.Close()
	if err := j.cmd.Wait(); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func (a *app) devJanitor() *cobra.Command {
	return &cobra.Command{
		Use:    "dev-janitor NAME SESSION",
		Short:  "Remove a dev cluster when standard input ends",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Only the end of the pipe counts; signals do not, nor does a
			// terminal that is gone.
			signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
			session, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, a.stdin); err != nil {
				return err
			}
			paths, ctx := newDevPaths(args[0]), context.WithoutCancel(cmd.Context())
			if err := awaitHelpers(ctx, args[0], session); err != nil {
				return err
			}
			return errors.Join(paths.remove(ctx), paths.unlock())
		},
	}
}

// awaitHelpers waits for the end of the commands that a killed dev left at work,
// such as an iptables-restore: they would undo the cleaning. Daemons have
// sessions of their own. A command that was not yet exec'd still had the pipe
// open, so all of them can be seen.
func awaitHelpers(ctx context.Context, name string, session int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(helpers(name, session)) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("processes %v of the dev cluster do not end", helpers(name, session))
		}
	}
	return nil
}

// helpers are the processes of a session that a dev of this name started.
func helpers(name string, session int) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is right
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		if of, err := unix.Getsid(pid); err != nil || of != session {
			continue
		}
		env, _ := os.ReadFile(file) // one that has ended has none
		if strings.Contains("\x00"+string(env), "\x00"+devVariable+"="+name+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// remove takes everything of the cluster off this machine.
func (p devPaths) remove(ctx context.Context) error {
	var g errgroup.Group
	if cluster := p.cluster(); cluster != "" {
		for _, name := range p.nodes() {
			g.Go(func() error {
				node := p.node(name)
				if err := node.Destroy(ctx, cluster); err != nil {
					return fmt.Errorf("remove node %s: %w", name, err)
				}
				return nil
			})
		}
		if err := errors.Join(g.Wait(), hostnet.RemoveCluster(cluster)); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(p.run), os.RemoveAll(p.state))
}
