package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

// app is what all commands share: the streams and the flags of the root.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	endpoint string
	owner    string
	json     bool
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "schedctl",
		Short: "Run containers on a Longshore cluster",
		Long: `schedctl hands apps (Compose files) to a Longshore cluster and shows where they stand.

  schedctl dev                  start a cluster of three nodes on this machine
  schedctl submit app.yaml      run an app, or change it to what the file says
  schedctl ps                   what runs where
  schedctl explain APP/SERVICE/N  why a replica waits
  schedctl rm APP               end it

Exit codes: 0 wanted state reached, 1 failure, 2 usage or invalid file,
3 accepted but still pending at --timeout, 4 placed but crashing,
5 no broadcaster answers, 130 interrupted (the work goes on).`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.endpoint, "endpoint", "", "address of the broadcaster, such as tcp://127.0.0.1:7700 or ipc:///run/longshore/broadcaster.sock (default: $LONGSHORE_ENDPOINT, else the socket of a broadcaster or dev cluster on this machine)")
	flags.StringVar(&a.owner, "owner", "", "owner of the apps meant (default: your login name)")
	flags.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd.CommandPath()+" --help", "%v", err)
	})
	root.AddCommand(a.submit(), a.ps(), a.status(), a.explain(), a.rm(), a.retry(), a.node(), a.image(), a.dev(), a.devJanitor())
	for _, c := range root.Commands() {
		wrapArgs(c)
	}
	return root
}

// wrapArgs makes cobra's complaints about arguments ours, with exit code 2.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(cmd.UseLine(), "%v", err)
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		wrapArgs(c)
	}
}

// usage is a mistake of the person who typed: what is wrong, and what to type.
func usage(next, what string, args ...any) error {
	return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf(what, args...), Next: next}
}
