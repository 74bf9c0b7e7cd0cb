package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

func (a *app) node() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Look at nodes, label them, drain them, give them up"}
	cmd.AddCommand(a.nodeLs(), a.nodeShow(), a.nodeLabel(), a.nodeDrain(), a.nodeUndrain(), a.nodeGiveUp())
	return cmd
}

func (a *app) nodes(ctx context.Context) ([]placement.NodeStatus, error) {
	var nodes []placement.NodeStatus
	if err := a.call(ctx, "nodes", &nodes); err != nil {
		return nil, err
	}
	slices.SortFunc(nodes, func(x, y placement.NodeStatus) int { return cmp.Compare(x.Node, y.Node) })
	return nodes, nil
}

func (a *app) nodeLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List nodes: how well each is heard and how full it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := a.nodes(cmd.Context())
			if err != nil {
				return err
			}
			a.sayHolding(cmd.Context())
			rows := [][]string{{"NODE", "STATE", "ADDRESS", "COPIES", "CPU", "MEMORY", "DISK", "LABELS", "ALARMS"}}
			for _, n := range nodes {
				if a.json {
					a.object(n)
					continue
				}
				p, c := n.Room.Promised, n.Room.Capacity
				rows = append(rows, []string{
					string(n.Node), string(n.State), n.Address, fmt.Sprint(n.Room.Copies),
					cores(p.CPU) + "/" + cores(c.CPU), size(p.Memory) + "/" + size(c.Memory), size(p.Disk) + "/" + size(c.Disk),
					cmp.Or(labels(n.Labels), "-"), strings.Join(n.Alarms, "; "),
				})
			}
			if !a.json {
				table(a.stdout, rows)
			}
			return nil
		},
	}
}

// labels is "zone=a,rack=7", leaving out what the node tells of itself.
func labels(m map[string]string) string {
	var parts []string
	for k, v := range m {
		switch k {
		case "arch", "os", "kernel", "cgroup", "docker":
		default:
			parts = append(parts, k+"="+v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func (a *app) nodeShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NODE",
		Short: "Show one node and what it holds",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, err := a.nodes(cmd.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(nodes, func(n placement.NodeStatus) bool { return string(n.Node) == args[0] })
			if i < 0 {
				return &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("no node %q", args[0]), Next: "schedctl node ls lists them"}
			}
			if a.json {
				a.object(nodes[i])
				return nil
			}
			a.shownNode(nodes[i])
			held, err := a.statuses(cmd.Context(), placement.Filter{Node: nodes[i].Node, All: true})
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout)
			a.list(held)
			return nil
		},
	}
}

func (a *app) shownNode(n placement.NodeStatus) {
	fmt.Fprintf(a.stdout, "%s: %s, last heard %.1f s ago\n", n.Node, n.State, n.Silent.Duration().Seconds())
	fmt.Fprintf(a.stdout, "  address:   %s\n", n.Address)
	fmt.Fprintf(a.stdout, "  agentd:    %s\n  hostinfod: %s\n", heard(n.Agent), heard(n.Hostinfo))
	free := n.Room.Free()
	for _, row := range []struct {
		what                           string
		capacity, promised, used, free string
	}{
		{"cpu", cores(n.Room.Capacity.CPU), cores(n.Room.Promised.CPU), cores(n.Room.Used.CPU), cores(free.CPU)},
		{"memory", size(n.Room.Capacity.Memory), size(n.Room.Promised.Memory), size(n.Room.Used.Memory), size(free.Memory)},
		{"disk", size(n.Room.Capacity.Disk), size(n.Room.Promised.Disk), size(n.Room.Used.Disk), size(free.Disk)},
	} {
		fmt.Fprintf(a.stdout, "  %-10s %s promised of %s, %s free, %s used\n", row.what+":", row.promised, row.capacity, row.free, row.used)
	}
	var all []string
	for k, v := range n.Labels {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	fmt.Fprintf(a.stdout, "  labels:    %s\n", cmp.Or(strings.Join(all, " "), "-"))
	for _, alarm := range n.Alarms {
		fmt.Fprintf(a.stdout, "  ALARM:     %s\n", alarm)
	}
	for _, u := range n.Unknown {
		fmt.Fprintf(a.stdout, "  unknown:   %s (quarantined: runs, and is not touched)\n", u)
	}
}

func heard(yes bool) string {
	if yes {
		return "heard"
	}
	return "not heard"
}

func (a *app) nodeLabel() *cobra.Command {
	return &cobra.Command{
		Use:     "label NODE NAME=VALUE ...",
		Short:   "Label a node, such as zone=a or rack=7 (NAME- removes a label)",
		Example: "  schedctl node label n1 zone=a rack=7\n  schedctl node label n1 zone-",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := placement.NodeChange{Node: placement.NodeID(args[0]), Labels: map[string]string{}}
			for _, arg := range args[1:] {
				name, value, ok := strings.Cut(arg, "=")
				if gone, cut := strings.CutSuffix(arg, "-"); !ok && cut {
					name, value, ok = gone, "", true
				} else if ok && value == "" {
					ok = false
				}
				if !ok {
					return usage("write NAME=VALUE, or NAME- to remove it", "%q is not a label", arg)
				}
				change.Labels[name] = value
			}
			return a.changeNode(cmd.Context(), change)
		},
	}
}

func (a *app) nodeGiveUp() *cobra.Command {
	return &cobra.Command{
		Use:   "give-up NODE",
		Short: "Say that a node will not come back: what it held starts elsewhere at once",
		Long: `Give a node up: its replicas are put back into the queue at once, without waiting
for its silence to last. Do so only when the machine is off or cut off for good:
while it still runs, its copies run beside their replacements until it is heard.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			yes := true
			return a.changeNode(cmd.Context(), placement.NodeChange{Node: placement.NodeID(args[0]), GiveUp: &yes})
		},
	}
}

func (a *app) changeNode(ctx context.Context, change placement.NodeChange) error {
	var n placement.NodeStatus
	if err := a.call(a.once(ctx), "node_change", &n, change); err != nil {
		return err
	}
	if a.json {
		a.object(n)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %s %s\n", n.Node, n.State, labels(n.Labels))
	return nil
}
