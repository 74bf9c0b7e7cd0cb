package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
	"longshore/rpc"
)

func (a *app) events() *cobra.Command {
	var f placement.LogFilter
	var app, node string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what the ledger changed: which placement, by whom, and why",
		Long: `Events shows the ledger's log, oldest first: every transition of a placement, every
wish of an app, what became known of nodes, and each start of the ledger itself, each
with the revision of the ledger, by whom, and why.
The last 100,000 changes are kept, over restarts too.

REV is the ledger's revision: --since shows what came after it. Clocks of machines are
never compared, so WHEN is how long ago it was, or, of an earlier start of the ledger,
the start and how long it had lasted by then.`,
		Example: "  schedctl events --follow\n  schedctl events --since 4711 --app shop --json\n  schedctl events --node n7",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.Owner, f.Node = a.owner, placement.NodeID(node)
			if app != "" {
				chosen, err := a.appFilter(app)
				if err != nil {
					return err
				}
				f.Owner, f.App = chosen.Owner, chosen.App
			}
			return a.showLog(cmd.Context(), f)
		},
	}
	cmd.Flags().BoolVarP(&f.Follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().Uint64Var(&f.Since, "since", 0, "only later revisions")
	cmd.Flags().StringVar(&app, "app", "", "only of this app, APP or OWNER/APP")
	cmd.Flags().StringVar(&node, "node", "", "only what is about this node")
	return cmd
}

func (a *app) history() *cobra.Command {
	return &cobra.Command{
		Use:     "history APP/SERVICE/N",
		Short:   "Show all that became of a replica, by whom, and why",
		Long:    "History shows a replica's lines of the ledger's log (see schedctl events), over all its lives.",
		Example: "  schedctl history shop/web/1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.replicaFilter(args[0])
			if err != nil {
				return err
			}
			return a.showLog(cmd.Context(), placement.LogFilter{Filter: f})
		},
	}
}

// showLog prints the lines that f chooses as they come.
func (a *app) showLog(ctx context.Context, f placement.LogFilter) error {
	link, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer link.Close()
	s, err := link.Stream(ctx, "history", f)
	if err != nil {
		return err
	}
	defer s.Close()
	if !a.json {
		fmt.Fprintf(a.stdout, "%8s  %-14s  %-40s  %-22s  %-18s  %s\n", "REV", "WHEN", "ABOUT", "CHANGE", "BY", "WHY")
	}
	for t, err := range rpc.Items[placement.Transition](s) {
		switch {
		case ctx.Err() != nil:
			return &exitError{code: exitInterrupted}
		case err != nil:
			return err
		}
		if a.json {
			a.object(t)
			continue
		}
		fmt.Fprintf(a.stdout, "%8d  %-14s  %-40s  %-22s  %-18s  %s\n", t.Rev, when(t), about(t), became(t), t.By, t.Why)
	}
	return nil
}

// when is "3 minutes ago", or "start 12 +5m4s" of an earlier start.
func when(t placement.Transition) string {
	if t.Ago != nil {
		return age(*t.Ago) + " ago"
	}
	return fmt.Sprintf("start %d +%s", t.Start.Term(), age(t.At))
}

func about(t placement.Transition) string {
	switch {
	case t.ID != "":
		return string(t.ID)
	case t.App != "":
		return "app " + t.App
	case t.Node != "":
		return "node " + string(t.Node)
	}
	return "ledger"
}

// became is "waiting -> running n7".
func became(t placement.Transition) string {
	var parts []string
	if t.From != "" && t.From != t.To {
		parts = append(parts, t.From.Word(), "->")
	}
	if t.To != "" {
		parts = append(parts, t.To.Word())
	}
	if t.Gone {
		parts = append(parts, "gone")
	}
	if t.ID != "" && t.Node != "" {
		parts = append(parts, string(t.Node))
	}
	return strings.Join(parts, " ")
}
