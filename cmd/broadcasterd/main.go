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
	cfg.Flags(fs)
	fs.StringVar(&listen, "listen", "", "address that nodes dial (default: tls://0.0.0.0:7700 with --tls-dir, else tcp://127.0.0.1:7700)")
	fs.StringVar(&cfg.Registry, "registry", "", "address of the image registry (default: 0.0.0.0:7701 with --tls-dir, else 127.0.0.1:7701)")
	fs.StringVar(&cfg.CADir, "ca-dir", "/etc/longshore/ca", "the authority, as schedctl ca init makes it; with its key there certificates are renewed by themselves; the list revoked in it is read again when it changes")
	fs.BoolVar(&cfg.Ephemeral, "ephemeral", false, "keep the ledger in memory: a restart forgets every app")
	fs.BoolVar(&cfg.NewGeneration, "new-generation", false, "the ledger was restored from a copy: hold, and take over what the nodes run")
	fs.StringVar(&cfg.Rebuild, "rebuild", "", "the ledger of the cluster with this `ID` is lost: make it anew of what the nodes run. The ID is in the file \"cluster\" of each node's state directory. Where there is a ledger it is kept")
	fs.IntVar(&cfg.Nodes, "nodes", 0, "with --rebuild: go on as soon as so many nodes have told what they run (default: after a minute)")
	return func(ctx context.Context, logger *slog.Logger) error {
		cfg.Logger = logger
		cfg.RunDir = runDir
		if host := "127.0.0.1"; cfg.Registry == "" {
			if cfg.TLSDir != "" {
				host = "0.0.0.0"
			}
			cfg.Registry = host + ":7701"
		}
		if listen == "" {
			listen = "tcp://127.0.0.1:7700"
			if cfg.TLSDir != "" {
				listen = "tls://0.0.0.0:7700"
			}
		}
		cfg.Listen = []string{"ipc://" + filepath.Join(runDir, "broadcaster.sock"), listen}
		return cfg.Run(ctx, func(a wiring.Addresses) {
			logger.Info("listening", "addresses", a.Listen, "registry", a.Registry)
			wiring.Ready(logger)
		})
	}
}
