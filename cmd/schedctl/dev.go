package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

// devConfig is the command line of `schedctl dev`.
type devConfig struct {
	name      string
	count     int
	ephemeral bool
	pause     string
	level     slog.Level
}

func (a *app) dev() *cobra.Command {
	var cfg devConfig
	level := "warn"
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, until Ctrl-C",
		Long: `Dev runs a broadcaster and some nodes in one process. Each node has its own Docker
daemons and its own address on a bridge, so that each has all ports to itself.
Everything it made is removed when it ends, however it ends.

It needs root, dockerd and iptables; make setup installs them. The lock is kept
in a redis-server of its own, or in process where there is none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.level.UnmarshalText([]byte(level)); err != nil {
				return usage("--log-level debug, info, warn or error", "%v", err)
			}
			return a.runDev(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.name, "name", "default", "name of the cluster: several can be up at once")
	cmd.Flags().IntVar(&cfg.count, "nodes", 3, "how many nodes, 1 to 50")
	cmd.Flags().BoolVar(&cfg.ephemeral, "ephemeral", false, "keep the ledger in memory")
	cmd.Flags().StringVar(&cfg.pause, "pause", "", "program that keeps net containers alive (default: longshore-pause beside schedctl)")
	cmd.Flags().StringVar(&level, "log-level", level, "debug, info, warn or error")
	return cmd
}

// check refuses what cannot work, before anything is made.
func (cfg *devConfig) check() error {
	if err := placement.CheckName("cluster", cfg.name); err != nil {
		return err
	}
	if len(cfg.name) > 16 {
		return usage("choose a shorter --name", "the name %q has %d letters; sockets below it allow 16", cfg.name, len(cfg.name))
	}
	if cfg.count < 1 || cfg.count > 50 {
		return usage("choose --nodes 1 to 50", "%d nodes cannot be", cfg.count)
	}
	if os.Geteuid() != 0 {
		return &placement.Error{Kind: placement.KindRefused, What: "dev must be root", Why: "it starts Docker daemons, bridges and iptables rules", Next: "sudo schedctl dev"}
	}
	if cfg.pause == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cfg.pause = filepath.Join(filepath.Dir(self), "longshore-pause")
	}
	if _, err := os.Stat(cfg.pause); err != nil {
		return &placement.Error{Kind: placement.KindInvalid, What: "the program that keeps net containers alive is missing", Why: err.Error(), Next: "make build, or name it by --pause"}
	}
	return checkPrograms("dockerd", "containerd", "runc", "iptables-save", "iptables-restore")
}

// checkPrograms says which of the programs are not on this machine. A user's
// PATH may lack the directories of root's.
func checkPrograms(names ...string) error {
	var missing []string
	for _, name := range names {
		found := false
		for _, dir := range []string{"", "/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"} {
			if _, err := exec.LookPath(dir + name); err == nil {
				found = true
				break
			}
		}
		if !found {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return &placement.Error{
		Kind: placement.KindRefused,
		What: "dev cannot run Docker daemons with networks of their own here",
		Why:  "not found in PATH nor in the system's directories: " + strings.Join(missing, ", "),
		Next: "make setup installs them (Debian's packages: docker.io, iptables)",
	}
}

// runDev runs the cluster between the removal of what a former one left and
// its own.
func (a *app) runDev(ctx context.Context, cfg devConfig) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	paths := newDevPaths(cfg.name)
	lock, err := paths.lock(cfg.name)
	if err != nil {
		return err
	}
	defer lock.Close()
	dev := &dev{devConfig: cfg, paths: paths, app: a, began: time.Now()}
	dev.logger = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: cfg.level}))
	if paths.left() {
		dev.say("removing what a former dev cluster named %q left", cfg.name)
	}
	if err := paths.remove(ctx); err != nil {
		return fmt.Errorf("remove what a former dev cluster left: %w", err)
	}
	janitor, err := startJanitor(cfg.name, lock, a.stdout, a.stderr)
	if err != nil {
		return errors.Join(err, paths.unlock())
	}
	err = dev.run(ctx)
	dev.say("stopping: removing containers, daemons and networks")
	if cleaned := janitor.clean(); cleaned != nil {
		return errors.Join(err, cleaned)
	}
	dev.say("all gone")
	return err
}
