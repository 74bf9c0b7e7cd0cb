// Command agentd is the Longshore agent of one node: it admits placements and
// deploys them into its users' daemons. Containers outlive it.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"longshore/cmd/internal/wiring"
)

func main() {
	os.Exit(wiring.Main(context.Background(), "agentd", "the Longshore agent of this node", os.Args[1:], os.Stderr, define))
}

func define(fs *flag.FlagSet) func(context.Context, *slog.Logger) error {
	var cfg wiring.NodeConfig
	cfg.Flags(fs)
	return func(ctx context.Context, logger *slog.Logger) error {
		cfg.Logger = logger
		if err := cfg.Complete(ctx); err != nil {
			return err
		}
		return cfg.RunAgent(ctx, nil, func() { wiring.Ready(logger) })
	}
}
