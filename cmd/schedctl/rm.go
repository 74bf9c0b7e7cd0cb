package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
	"longshore/rpc"
)

func (a *app) rm() *cobra.Command {
	var detach bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "rm APP",
		Aliases: []string{"down"},
		Short:   "End an app: stop and remove its containers, everywhere",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.appFilter(args[0])
			if err != nil {
				return err
			}
			link, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer link.Close()
			var removed []placement.Replica
			if err := link.Call(a.once(cmd.Context()), "remove", &removed, f); err != nil {
				return a.hint(cmd.Context(), f, err)
			}
			if !a.json {
				fmt.Fprintf(a.stdout, "%s/%s: removing %s\n", f.Owner, f.App, counted(len(removed), "replica"))
			}
			if detach {
				return nil
			}
			return a.awaitGone(cmd.Context(), link, f, timeout)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait until they are gone")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "stop waiting after so long (exit code 3; the work goes on)")
	return cmd
}

// awaitGone waits until nothing of the app is left on any node.
func (a *app) awaitGone(ctx context.Context, link *rpc.Link, f placement.Filter, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	f.All = true
	events, err := link.Stream(ctx, "events", f)
	if err != nil {
		return err
	}
	defer events.Close()
	left := map[placement.ID]bool{}
	synced := false
	for !synced || len(left) > 0 {
		var e placement.Event
		if err := events.Next(&e); err != nil {
			return a.stillThere(ctx, f, len(left), err)
		}
		switch {
		case e.Synced:
			synced = true
		case e.State == placement.Cancelled && e.Node == "":
			delete(left, e.ID)
			if a.json {
				a.object(e.Status)
			}
		default:
			left[e.ID] = true
		}
	}
	if !a.json {
		fmt.Fprintf(a.stdout, "%s/%s: gone\n", f.Owner, f.App)
	}
	return nil
}

func (a *app) stillThere(ctx context.Context, f placement.Filter, left int, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded): // noticed by either end
		return &exitError{exitPending, &placement.Error{
			What: fmt.Sprintf("%s/%s: %d copies are not proven gone yet", f.Owner, f.App, left),
			Next: "it goes on; look with: schedctl ps -a " + f.Owner + "/" + f.App,
		}}
	case ctx.Err() != nil:
		return &exitError{code: exitInterrupted}
	}
	return err
}

func (a *app) retry() *cobra.Command {
	return &cobra.Command{
		Use:   "retry APP | APP/SERVICE/N",
		Short: "Try again what failed or waits, now; bring back what was stopped or destroyed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.appOrReplica(args[0])
			if err != nil {
				return err
			}
			var again []placement.Replica
			if err := a.call(a.once(cmd.Context()), "retry", &again, f); err != nil {
				return a.hint(cmd.Context(), f, err)
			}
			if a.json {
				a.object(again)
				return nil
			}
			fmt.Fprintf(a.stdout, "tried again now: %s\n", counted(len(again), "replica"))
			return nil
		},
	}
}
