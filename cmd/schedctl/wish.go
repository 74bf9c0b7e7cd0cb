package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

func (a *app) stop() *cobra.Command {
	return a.wish("stop", "stopping", "Stop a replica, or all of an app, until it is started again",
		`Stop a replica, or all replicas of an app: their containers are stopped and removed,
and nothing starts them again but schedctl start or retry, or a submit that changes
the service's request. The app stays as it is submitted.`)
}

func (a *app) start() *cobra.Command {
	return a.wish("start", "starting", "Start what is stopped, done, failed or destroyed",
		`Start replicas again that were stopped or have ended, on the node where they were
(schedctl retry lets them start elsewhere), and bring back those that were destroyed.`)
}

// wish is a command that says one thing about one replica or all of an app.
func (a *app) wish(verb, doing, short, long string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " APP | APP/SERVICE/N",
		Short: short,
		Long:  long,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.appOrReplica(args[0])
			if err != nil {
				return err
			}
			var names []placement.Replica
			if err := a.call(a.once(cmd.Context()), verb, &names, f); err != nil {
				return a.hint(cmd.Context(), f, err)
			}
			if a.json {
				a.object(names)
				return nil
			}
			fmt.Fprintf(a.stdout, "%s %s; look with: schedctl ps %s/%s\n", doing, counted(len(names), "replica"), f.Owner, f.App)
			return nil
		},
	}
}

// appOrReplica reads APP, OWNER/APP or a replica.
func (a *app) appOrReplica(arg string) (placement.Filter, error) {
	if strings.Count(arg, "/") >= 2 {
		return a.replicaFilter(arg)
	}
	return a.appFilter(arg)
}
