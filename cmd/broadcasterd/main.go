// Command broadcasterd is the centre of a Longshore cluster: it takes apps,
// keeps the ledger, offers placements to nodes and hears what became of them.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"

	"longshore/cmd/internal/wiring"
)

func main() {
	os.Exit(wiring.Main(context.Background(), "broadcasterd", "the centre of a Longshore cluster", os.Args[1:], os.Stderr, define))
}

func define(fs *flag.FlagSet) func(context.Context, *slog.Logger) error {
	var cfg wiring.BroadcasterConfig
	var listen, runDir string
	fs.StringVar(&cfg.DataDir, "data-dir", "/var/lib/longshore/broadcaster", "the ledger and the images")
	fs.StringVar(&runDir, "run-dir", "/run/longshore", "where broadcaster.sock is made, for schedctl and scripts")
	fs.StringVar(&listen, "listen", "tcp://127.0.0.1:7700", "address that nodes dial; loopback until links have TLS")
	fs.StringVar(&cfg.Registry, "registry", "127.0.0.1:7701", "address of the image registry; loopback until links have TLS")
	fs.BoolVar(&cfg.Ephemeral, "ephemeral", false, "keep the ledger in memory: a restart forgets every app")
	fs.BoolVar(&cfg.NewGeneration, "new-generation", false, "the ledger was restored or rebuilt: hold, and take over what the nodes run")
	return func(ctx context.Context, logger *slog.Logger) error {
		if err := os.MkdirAll(runDir, 0o755); err != nil {
			return err
		}
		cfg.Logger = logger
		cfg.Listen = []string{"ipc://" + filepath.Join(runDir, "broadcaster.sock"), listen}
		return cfg.Run(ctx, func(a wiring.Addresses) {
			logger.Info("listening", "addresses", a.Listen, "registry", a.Registry)
			wiring.Ready(logger)
		})
	}
}
