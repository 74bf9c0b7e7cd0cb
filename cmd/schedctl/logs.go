package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
	"longshore/rpc"
)

func (a *app) logs() *cobra.Command {
	var follow, stamps bool
	var tail int
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "logs [flags] APP/SERVICE/N",
		Short: "Print what a replica wrote, where it runs now",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := a.inCopy(cmd.Context(), args[0], "container_logs", func(s placement.Status) []any {
				return []any{s.ID, map[string]any{"follow": follow, "tail": tail, "since": since.Milliseconds(), "timestamps": stamps}}
			})
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it ends")
	cmd.Flags().IntVar(&tail, "tail", 0, "only so many of the newest lines (0: all)")
	cmd.Flags().DurationVar(&since, "since", 0, "only what came so long ago or later, such as 10m (0: all)")
	cmd.Flags().BoolVarP(&stamps, "timestamps", "t", false, "begin each line with when it came")
	return cmd
}

func (a *app) exec() *cobra.Command {
	var env []string
	var dir, user string
	var timeout time.Duration
	var stdin bool
	cmd := &cobra.Command{
		Use:   "exec [flags] APP/SERVICE/N -- PROGRAM [ARGS...]",
		Short: "Run a program inside a replica's container, and exit as it does",
		Long: `Run a program inside a replica's container. Its output is printed as it comes, and
schedctl exits with its exit code; a program that is not there exits with 126 or 127.
It is killed when schedctl ends. No shell reads the arguments.`,
		Example: "  schedctl exec shop/db/1 -- psql -c 'select 1'\n  schedctl exec -i shop/db/1 -- psql < setup.sql",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			argv := args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return usage("schedctl exec APP/SERVICE/N -- PROGRAM", "no program is named")
			}
			run := map[string]any{"argv": argv, "env": env, "dir": dir, "user": user, "timeout": timeout.Milliseconds()}
			if stdin {
				input, err := io.ReadAll(io.LimitReader(a.stdin, maxInput+1))
				if err != nil {
					return fmt.Errorf("read the input: %w", err)
				}
				if len(input) > maxInput {
					return usage("copy it into the container first", "the input is longer than %d bytes", maxInput)
				}
				run["stdin"] = input
			}
			code, err := a.inCopy(cmd.Context(), args[0], "exec_stream", func(s placement.Status) []any {
				run["container"] = s.ID
				return []any{run}
			})
			if err == nil && code != 0 {
				err = &exitError{code: code}
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the program is its own
	cmd.Flags().StringArrayVarP(&env, "env", "e", nil, "NAME=value, beside the container's own")
	cmd.Flags().StringVarP(&dir, "workdir", "w", "", "directory to run in")
	cmd.Flags().StringVarP(&user, "user", "u", "", "user to run as")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "kill it after so long (0: never)")
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "give it schedctl's input, at most 3 MiB, once that has ended")
	return cmd
}

const maxInput = 3 << 20 // it travels in one message

// killed is the exit code of what ran out of its time, as that of timeout(1).
const killed = 124

// inCopy calls a method of the node where a replica is, prints its output, and
// gives the exit code that it ends with, if it does.
func (a *app) inCopy(ctx context.Context, replica, method string, args func(placement.Status) []any) (code int, err error) {
	f, err := a.replicaFilter(replica)
	if err != nil {
		return 0, err
	}
	link, err := a.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer link.Close()
	var s placement.Status
	if err := link.Call(ctx, "explain", &s, f.Replica); err != nil {
		return 0, a.hint(ctx, f, err)
	}
	if s.Node == "" {
		return 0, &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s has no container", s.Replica), Why: "it is " + s.State.Word(), Next: "schedctl explain " + replica}
	}
	stream, err := link.Stream(ctx, "call_stream", s.Node, method, args(s))
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	type output struct {
		Stream   string `json:"stream"`
		Data     any    `json:"data"`
		ExitCode int    `json:"exit_code"`
		TimedOut bool   `json:"timed_out"`
	}
	for item, err := range rpc.Items[output](stream) {
		switch {
		case err != nil && ctx.Err() != nil:
			return 0, &exitError{code: exitInterrupted}
		case err != nil:
			return 0, err
		case item.TimedOut:
			code = killed
		case item.Stream == "":
			code = item.ExitCode
		}
		out := a.stdout
		if item.Stream == "stderr" {
			out = a.stderr
		}
		if err := pass(out, item.Data); err != nil {
			return 0, err
		}
	}
	return code, nil
}

// pass writes output as it was written.
func pass(w io.Writer, data any) (err error) {
	switch data := data.(type) {
	case string:
		_, err = io.WriteString(w, data)
	case []byte:
		_, err = w.Write(data)
	}
	return err
}
