package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"longshore/internal/hostnet"
)

// janitor is the process that removes a dev cluster from the machine when its
// `schedctl dev` ends, however that ends: it waits for the end of a pipe that
// the dev holds open, and it holds the lock with it.
type janitor struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

func startJanitor(name string, lock *os.File, stdout, stderr io.Writer) (*janitor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "dev-janitor", name) //nolint:noctx // it outlives us by design
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
	return &janitor{cmd, pipe}, nil
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
		Use:    "dev-janitor NAME",
		Short:  "Remove a dev cluster when standard input ends",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Only the end of the pipe counts; the parent's signals do not.
			if _, err := io.Copy(io.Discard, a.stdin); err != nil {
				return err
			}
			return newDevPaths(args[0]).remove(context.WithoutCancel(cmd.Context()))
		},
	}
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
