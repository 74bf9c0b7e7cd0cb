package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"longshore/internal/appfile"
	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

func (a *app) submit() *cobra.Command {
	var detach bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "submit FILE",
		Aliases: []string{"up"},
		Short:   "Run an app, or change it to what its file says",
		Long: `Submit hands a Compose file to the cluster and waits until every replica of it
runs, telling where each stands and why it waits. FILE "-" is standard input.

The same file again changes nothing; a changed file replaces only what changed,
replica by replica, each after the last one runs. Ctrl-C stops the waiting, not
the work.`,
		Example: "  schedctl submit app.yaml\n  schedctl submit app.yaml --detach\n  schedctl submit app.yaml --timeout 30s --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, tracer, err := beginTrace(cmd.Context(), "submit")
			if err != nil {
				return err
			}
			defer func() { _ = tracer.Close(ctx) }() // an export that fails is no failure of the submit
			var wanted placement.App
			err = trace.Run(ctx, "read file", func(ctx context.Context) error {
				wanted, err = a.load(ctx, args[0])
				return err
			})
			if err != nil {
				return err
			}
			return a.submitApp(ctx, tracer, wanted, detach, timeout)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait: return as soon as the app is stored")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "stop waiting after so long (exit code 3; the work goes on)")
	return cmd
}

// load reads the app file, and shows its warnings.
func (a *app) load(ctx context.Context, path string) (placement.App, error) {
	opts := appfile.Options{Owner: a.owner, Stdin: a.stdin, Env: os.Environ()}
	if owner, err := a.ownerName(); err == nil {
		opts.Login = owner
	}
	wanted, warnings, err := appfile.Load(ctx, path, opts)
	for _, w := range warnings {
		fmt.Fprintln(a.stderr, "warning:", w)
	}
	if err != nil {
		return wanted, &exitError{exitUsage, err}
	}
	return wanted, nil
}

func (a *app) submitApp(ctx context.Context, tracer *trace.Tracer, wanted placement.App, detach bool, timeout time.Duration) (err error) {
	_, connect := trace.Start(ctx, "connect")
	link, err := a.dial(ctx)
	connect.End(err)
	if err != nil {
		return err
	}
	defer link.Close()
	defer func() { leaveSpans(ctx, link, tracer, err) }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	// Watching begins before the submit, so that no change is missed.
	var events *rpc.Stream
	if !detach {
		events, err = link.Stream(trace.Into(ctx, nil), "events", placement.Filter{Owner: wanted.Owner, App: wanted.Name, All: true})
		if err != nil {
			return err
		}
		defer events.Close()
	}
	began := time.Now()
	var answer placement.Submitted
	if err := link.Call(a.once(ctx), "submit", &answer, wanted); err != nil {
		return err
	}
	out := printer{app: a, began: began}
	out.submitted(answer)
	if detach {
		return nil
	}
	_, watching := trace.Start(ctx, "watch until it runs")
	defer watching.End(nil)
	progress := newProgress(wanted, answer)
	for !progress.finished() {
		var e placement.Event
		if err := events.Next(&e); err != nil {
			return a.endWaiting(ctx, &out, progress, answer, err)
		}
		if progress.apply(e) {
			out.status(e.Status)
		}
	}
	out.summary(progress)
	return progress.verdict()
}

// endWaiting says why the waiting ended before the wanted state was reached.
func (a *app) endWaiting(ctx context.Context, out *printer, progress *progress, answer placement.Submitted, err error) error {
	out.summary(progress)
	look := fmt.Sprintf("schedctl status %s/%s", answer.Owner, answer.App)
	switch {
	case errors.Is(err, context.DeadlineExceeded): // noticed by either end
		code := exitPending
		if progress.crashing() {
			code = exitCrashing
		}
		return &exitError{code, &placement.Error{
			Kind: placement.KindUnavailable,
			What: fmt.Sprintf("%s/%s: %s when the waiting ended", answer.Owner, answer.App, progress),
			Why:  progress.why(),
			Next: "the work goes on; look with: " + look,
		}}
	case ctx.Err() != nil:
		fmt.Fprintf(a.stderr, "interrupted; the work goes on; look with: %s\n", look)
		return &exitError{code: exitInterrupted}
	}
	return &exitError{exitUnreachable, &placement.Error{
		Kind: placement.KindUnavailable,
		What: "lost the broadcaster while waiting",
		Why:  err.Error(),
		Next: "the app is stored and the work goes on; look with: " + look,
	}}
}
