package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

func (a *app) ps() *cobra.Command {
	var node string
	var all bool
	cmd := &cobra.Command{
		Use:   "ps [APP]",
		Short: "List replicas: where each runs, or why it does not",
		Long:  "List the replicas of every owner's apps (--owner: of one owner's; APP: of one app).",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := placement.Filter{Owner: a.owner, Node: placement.NodeID(node), All: all}
			if len(args) == 1 {
				chosen, err := a.appFilter(args[0])
				if err != nil {
					return err
				}
				f.Owner, f.App = chosen.Owner, chosen.App
			}
			statuses, err := a.statuses(cmd.Context(), f)
			if err != nil {
				return err
			}
			a.sayHolding(cmd.Context())
			a.list(statuses)
			return nil
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "only what this node holds")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also copies that are being replaced or removed")
	return cmd
}

// statuses asks for what f chooses, in the order people read: by app, service
// and number.
func (a *app) statuses(ctx context.Context, f placement.Filter) ([]placement.Status, error) {
	var statuses []placement.Status
	if err := a.call(ctx, "status", &statuses, f); err != nil {
		return nil, err
	}
	slices.SortFunc(statuses, func(x, y placement.Status) int {
		return cmp.Or(
			cmp.Compare(x.Replica.Owner(), y.Replica.Owner()),
			cmp.Compare(x.Replica.App(), y.Replica.App()),
			cmp.Compare(x.Replica.Service(), y.Replica.Service()),
			cmp.Compare(x.Replica.Number(), y.Replica.Number()),
			cmp.Compare(x.ID, y.ID))
	})
	return statuses, nil
}

func (a *app) list(statuses []placement.Status) {
	if a.json {
		for _, s := range statuses {
			a.object(s)
		}
		return
	}
	rows := [][]string{{"REPLICA", "STATE", "NODE", "IMAGE", "PORTS", "SINCE", "WHY"}}
	for _, s := range statuses {
		rows = append(rows, []string{
			string(s.Replica), state(s), cmp.Or(string(s.Node), "-"), shortImage(s.Image),
			cmp.Or(published(s), "-"), age(s.Since), cmp.Or(doing(s), s.Why),
		})
	}
	table(a.stdout, rows)
}

// doing is what a node is at with a copy that does not run yet.
func doing(s placement.Status) string {
	if s.State == placement.Running || s.Phase == s.State.Word() {
		return ""
	}
	return s.Phase
}

// state is the word for a copy's state, and what it means for its replica.
func state(s placement.Status) string {
	if !s.Wanted && s.State != placement.Cancelled {
		return s.State.Word() + " (old)"
	}
	if s.State == placement.Cancelled && s.Node != "" {
		return "stopping"
	}
	return s.State.Word()
}

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status APP",
		Short: "Show one app: what of it runs, and what is missing",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.appFilter(args[0])
			if err != nil {
				return err
			}
			f.All = true
			statuses, err := a.statuses(cmd.Context(), f)
			if err == nil && len(statuses) == 0 {
				err = &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("no app %s/%s", f.Owner, f.App), Next: "schedctl ps lists what there is"}
			}
			if err != nil {
				return a.hint(cmd.Context(), f, err)
			}
			if !a.json {
				fmt.Fprintf(a.stdout, "%s/%s: %s\n\n", f.Owner, f.App, count(statuses))
			}
			a.list(statuses)
			return nil
		},
	}
}

// count is "3 running, 1 waiting".
func count(statuses []placement.Status) string {
	words := map[string]int{}
	var order []string
	for _, s := range statuses {
		if words[state(s)]++; words[state(s)] == 1 {
			order = append(order, state(s))
		}
	}
	parts := make([]string, len(order))
	for i, w := range order {
		parts[i] = strconv.Itoa(words[w]) + " " + w
	}
	return strings.Join(parts, ", ")
}
