// Command hostinfod reports what runs on one node of a Longshore cluster, and how
// full the node is.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"longshore/cmd/internal/wiring"
)

func main() {
	os.Exit(wiring.Main(context.Background(), "hostinfod", "reports what runs on this node", os.Args[1:], os.Stderr, define))
}

func define(fs *flag.FlagSet) func(context.Context, *slog.Logger) error {
	var cfg wiring.NodeConfig
	cfg.Flags(fs)
	return func(ctx context.Context, logger *slog.Logger) error {
		cfg.Logger = logger
		if err := cfg.Complete(ctx); err != nil {
			return err
		}
		return cfg.RunHostinfo(ctx, func() { wiring.Ready(logger) })
	}
}
