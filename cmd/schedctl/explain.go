package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

func (a *app) explain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain APP/SERVICE/N",
		Short: "Say where a replica stands and why, in the nodes' own words",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.replicaFilter(args[0])
			if err != nil {
				return err
			}
			var s placement.Status
			if err := a.call(cmd.Context(), "explain", &s, f.Replica); err != nil {
				return a.hint(cmd.Context(), f, err)
			}
			if a.json {
				a.object(s)
				return nil
			}
			a.explained(s)
			return nil
		},
	}
}

func (a *app) explained(s placement.Status) {
	head := s
	head.Why = ""
	fmt.Fprintf(a.stdout, "%s: %s, for %s\n", s.Replica, describe(head), age(s.Since))
	if s.Why != "" {
		fmt.Fprintf(a.stdout, "  why:    %s\n", s.Why)
	}
	fmt.Fprintf(a.stdout, "  image:  %s\n", s.Image)
	fmt.Fprintf(a.stdout, "  needs:  %s\n", needs(s.Needs))
	if s.State != placement.Pending {
		return
	}
	if len(s.Refusals) > 0 {
		asked := 0
		for _, r := range s.Refusals {
			asked += r.Nodes
		}
		fmt.Fprintf(a.stdout, "  nodes:  %d, try %d\n", asked, s.Tries)
		for _, r := range s.Refusals {
			names := make([]string, len(r.Names))
			for i, n := range r.Names {
				names[i] = string(n)
			}
			where := ""
			if len(names) > 0 {
				where = " (" + strings.Join(names, ", ") + ")"
			}
			fmt.Fprintf(a.stdout, "  - %d of %d: %s%s\n", r.Nodes, asked, r.Reason, where)
		}
	}
	if s.NextTry > 0 {
		fmt.Fprintf(a.stdout, "  next:   in %.1f s, or as soon as a node reports more room\n", s.NextTry.Duration().Seconds())
	}
}

func needs(r placement.Resources) string {
	var parts []string
	if r.CPU > 0 {
		parts = append(parts, cores(r.CPU)+" cpu")
	}
	if r.Memory > 0 {
		parts = append(parts, size(r.Memory)+" memory")
	}
	if r.Disk > 0 {
		parts = append(parts, size(r.Disk)+" disk")
	}
	if len(parts) == 0 {
		return "the node's default"
	}
	return strings.Join(parts, ", ")
}
