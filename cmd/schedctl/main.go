// Command schedctl is what people type: it submits apps to a Longshore
// cluster, shows where they stand and why, and runs a whole cluster on one
// machine (`schedctl dev`).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Exit codes, beside 0: the wanted state is reached.
const (
	exitFailure     = 1   // it failed
	exitUsage       = 2   // the command line or the file is wrong
	exitPending     = 3   // accepted, but something still waits at --timeout
	exitCrashing    = 4   // placed, but something ends again and again
	exitUnreachable = 5   // no broadcaster answers
	exitInterrupted = 130 // Ctrl-C; the work goes on
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, endings()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends us at once
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	return report(stderr, root.ExecuteContext(ctx))
}

// endings are the signals that ask for an end. Under nohup a terminal that is
// closed does not.
func endings() []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// exitError ends the program with a code; what it wraps is shown, if anything.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// report shows an error as a person wants to read it, and gives its exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		if exit.err != nil {
			report(stderr, exit.err)
		}
		return exit.code
	}
	err = fromWire(err)
	fmt.Fprintln(stderr, "schedctl:", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	var told *placement.Error
	switch {
	case errors.As(err, &told) && told.Kind == placement.KindInvalid:
		return exitUsage
	case errors.As(err, &told):
		return exitFailure
	case errors.Is(err, rpc.ErrLostRemote), errors.Is(err, rpc.ErrClosed), errors.Is(err, rpc.ErrTimeout):
		return exitUnreachable
	}
	return exitFailure
}

// fromWire turns an error triple of the broadcaster back into the three parts
// that it was made of.
func fromWire(err error) error {
	if remote, ok := errors.AsType[*rpc.RemoteError](err); ok {
		return placement.ErrorFrom(remote.Name, remote.Message)
	}
	return err
}
