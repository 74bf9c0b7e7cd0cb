package wiring

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"longshore/internal/placement"
)

// Main is the main of a daemon: it parses the command line with what define
// adds to it, and runs until SIGTERM or SIGINT. The result is the exit code.
func Main(ctx context.Context, name, about string, args []string, stderr io.Writer, define func(*flag.FlagSet) func(context.Context, *slog.Logger) error) int {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, "%s: %s\n\nOptions:\n", name, about)
		fs.PrintDefaults()
	}
	level := slog.LevelInfo
	fs.TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	run := define(fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "%s: what is %q? It takes options only; see %s --help\n", name, fs.Arg(0), name)
		return 2
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	if err := run(ctx, logger); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		var told *placement.Error
		if errors.As(err, &told) && told.Kind == placement.KindInvalid {
			return 2
		}
		return 1
	}
	return 0
}

// Ready tells systemd, if it started us, that the daemon serves.
func Ready(logger *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		logger.Warn("cannot tell systemd that we are ready", "err", err)
	}
	logger.Info("ready")
}
