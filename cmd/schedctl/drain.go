package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"longshore/broadcaster"
	"longshore/internal/placement"
)

func (a *app) nodeDrain() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move everything away from a node, and give it no new work",
		Long: `Drain a node: it takes no new work, and what runs there moves away. Each replica is
stopped and starts anew on another node, of each service one after the other, the next
when the last one runs, as a changed app file would be rolled out. So where there is no
room elsewhere, one replica of a service waits and the others stay.

What is pinned to the node stays. schedctl node undrain ends it at any time; what moved
does not move back. Stopped replicas of the node start elsewhere.

With --wait the command ends when nothing that can move is left there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			yes := true
			node := placement.NodeID(args[0])
			if err := a.changeNode(cmd.Context(), placement.NodeChange{Node: node, Drain: &yes}); err != nil || !wait {
				return err
			}
			return a.awaitDrained(cmd.Context(), node, timeout)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until nothing that can move is left")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "with --wait: give up waiting (exit code 3); the drain goes on")
	return cmd
}

func (a *app) nodeUndrain() *cobra.Command {
	return &cobra.Command{
		Use:   "undrain NODE",
		Short: "Give a drained node work again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			no := false
			return a.changeNode(cmd.Context(), placement.NodeChange{Node: placement.NodeID(args[0]), Drain: &no})
		},
	}
}

// awaitDrained waits until nothing that can move is on the node, and tells what
// is left whenever that changes.
func (a *app) awaitDrained(ctx context.Context, node placement.NodeID, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for said := ""; ; {
		held, err := a.statuses(bounded, placement.Filter{Node: node, All: true})
		if err != nil && bounded.Err() == nil {
			return err
		}
		moving, stays := leavers(held)
		if err == nil && len(moving) == 0 {
			if len(stays) > 0 && !a.json {
				fmt.Fprintf(a.stdout, "stays, pinned to %s: %s\n", node, strings.Join(stays, ", "))
			}
			return nil
		}
		if now := fmt.Sprintf("%s: %s to move: %s", node, counted(len(moving), "replica"), strings.Join(moving[:min(5, len(moving))], ", ")); err == nil && now != said && !a.json {
			fmt.Fprintln(a.stdout, now)
			said = now
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return &exitError{code: exitInterrupted}
			}
			return &exitError{exitPending, &placement.Error{
				Kind: placement.KindUnavailable, What: fmt.Sprintf("node %s still holds %s after %s", node, counted(len(moving), "replica"), timeout),
				Why: said, Next: "schedctl ps tells what waits and why; the drain goes on",
			}}
		}
	}
}

// leavers are the replicas of a drained node that move, and those that stay.
func leavers(held []placement.Status) (moving, stays []string) {
	for _, s := range held {
		switch {
		case s.Pinned:
			stays = append(stays, string(s.Replica))
		case s.State != placement.Done && s.State != placement.Dead:
			moving = append(moving, string(s.Replica))
		}
	}
	return moving, stays
}

func (a *app) guard() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Release what is held back when many nodes fall silent together",
		Long: `When more than max(2, 20 %) of the nodes fall silent together, that is more likely the
network than the nodes: so what they ran is held back, and not started elsewhere, until
some are heard again. schedctl node ls, ps and rpc broadcaster info say so.`,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "release",
		Short: "Say that the silent nodes are gone: what they ran starts elsewhere",
		Long: `Release the guard: what the silent nodes ran starts elsewhere, in the usual pace (one
node per 10 s, 10 replicas a second). Do so when you know that the machines are off or
cut off for good: what still runs there runs beside its replacement until it is heard.
It holds for the nodes that are silent now.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var freed []placement.NodeID
			if err := a.call(a.once(cmd.Context()), "guard_release", &freed); err != nil {
				return err
			}
			switch {
			case a.json:
				a.object(map[string]any{"released": freed})
			case len(freed) == 0:
				fmt.Fprintln(a.stdout, "the guard holds nothing back now")
			default:
				fmt.Fprintf(a.stdout, "released: %v\n", freed)
			}
			return nil
		},
	})
	return cmd
}

// sayHolding says on stderr what the cluster holds back, if anything.
func (a *app) sayHolding(ctx context.Context) {
	var info broadcaster.Info
	if a.call(ctx, "info", &info) == nil && info.Holding != "" {
		fmt.Fprintln(a.stderr, "HOLDING:", info.Holding)
	}
}
