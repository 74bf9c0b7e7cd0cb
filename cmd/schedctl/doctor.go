package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/rpc"
)

func (a *app) doctor() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that all is as it should be, and say what to do where it is not",
		Long: `Doctor compares what the ledger says with what each node's agent says, and checks:
  records     what should run on a node runs there
  copies      what runs may run: bound to this node, in this epoch
  double      no replica runs twice
  ha          no two replicas of one HA token share a failure domain
  room        no node promised more than it has
  quarantine  containers of placements that the ledger does not know
  silence     each node's agentd and hostinfod are heard and registered
  guards      what is held back, by the mass guard or since the ledger's start
  disk, locks, certificates, alarms, version, ledger, waiting

What may only be on its way, such as a copy that is being stopped, counts if it lasts
for --patience. Doctor changes nothing. It sees nodes as the broadcaster does: what runs
on a node that is cut off cannot be looked at.

It exits with 1 if there is an error, with 0 if there are warnings or nothing, and with 5
if no broadcaster answers. Operators only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, nodes, err := a.examine(cmd.Context(), patience)
			if err != nil {
				return err
			}
			return a.findings(found, nodes)
		},
	}
	cmd.Flags().DurationVar(&patience, "patience", 30*time.Second, "look again for so long at what may be on its way; a stale copy takes up to 25 s to go")
	return cmd
}

// examine looks at the cluster until nothing is on its way, or patience ends.
func (a *app) examine(ctx context.Context, patience time.Duration) (found []finding, nodes int, err error) {
	link, err := a.dial(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer link.Close()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		s, err := lookAt(ctx, link)
		if ctx.Err() != nil {
			return nil, 0, &exitError{code: exitInterrupted}
		}
		if err != nil {
			return nil, 0, err
		}
		found, nodes = diagnose(s), len(s.nodes)
		if !slices.ContainsFunc(found, func(f finding) bool { return f.Passing }) {
			return found, nodes, nil
		}
		again := time.NewTimer(3 * time.Second)
		select {
		case <-over.C:
			return found, nodes, nil
		case <-ctx.Done():
			return nil, 0, &exitError{code: exitInterrupted}
		case <-again.C:
		}
	}
}

// lookAt asks everybody once.
func lookAt(ctx context.Context, link *rpc.Link) (s sighted, err error) {
	ask := func(method string, into any, args ...any) {
		if err == nil {
			bounded, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			err = link.Call(bounded, method, into, args...)
		}
	}
	ask("info", &s.info)
	ask("nodes", &s.nodes)
	ask("status", &s.before, placement.Filter{All: true})
	if err != nil {
		return s, err
	}
	s.told = make(map[placement.NodeID]nodeTold)
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(32)
	for _, n := range s.nodes {
		if !n.Agent {
			continue // that is a finding of its own
		}
		all.Go(func() error {
			t := askNode(ctx, link, n.Node)
			mu.Lock()
			defer mu.Unlock()
			s.told[n.Node] = t
			return nil
		})
	}
	_ = all.Wait() // what a node does not say is kept with it
	ask("status", &s.after, placement.Filter{All: true})
	return s, err
}

// askNode asks a node's agent, by its link to the broadcaster.
func askNode(ctx context.Context, link *rpc.Link, node placement.NodeID) (t nodeTold) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if t.err = link.Call(bounded, "call", &t.info, node, "info", []any{}); t.err == nil {
		t.err = link.Call(bounded, "call", &t.copies, node, "copies", []any{})
	}
	t.err = fromWire(t.err)
	return t
}

// findings prints what was found; an error if any of it is one.
func (a *app) findings(found []finding, nodes int) error {
	errors := 0
	for _, f := range found {
		if f.Severity == severe {
			errors++
		}
		if a.json {
			a.object(f)
			continue
		}
		fmt.Fprintf(a.stdout, "%s %s: %s: %s\n  next: %s\n", strings.ToUpper(f.Severity), f.Check, f.About, strings.ReplaceAll(f.What, "\n", "\n  "), f.Next)
	}
	if !a.json {
		fmt.Fprintf(a.stdout, "%s looked at: %s, %s\n", counted(nodes, "node"), counted(errors, "error"), counted(len(found)-errors, "warning"))
	}
	if errors > 0 {
		return &exitError{code: exitFailure}
	}
	return nil
}
