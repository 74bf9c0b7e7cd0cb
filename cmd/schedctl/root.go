package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"longshore/internal/placement"
)

// app is what all commands share: the streams and the flags of the root.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	endpoint string
	tlsDir   string
	insecure bool
	owner    string
	key      string
	json     bool
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "schedctl",
		Short: "Run containers on a Longshore cluster",
		Long: `schedctl hands apps (Compose files) to a Longshore cluster and shows where they stand.

  schedctl dev                    start a cluster of three nodes on this machine
  schedctl submit app.yaml        run an app, or change it to what the file says
  schedctl ps                     what runs where
  schedctl explain APP/SERVICE/N  why a replica waits
  schedctl stop APP/SERVICE/N     stop a replica until schedctl start
  schedctl trace APP/SERVICE/N    where the time went until it ran
  schedctl history APP/SERVICE/N  all that became of it, by whom and why
  schedctl logs APP/SERVICE/N     what it wrote; exec runs a program in it
  schedctl rm APP                 end it
  schedctl doctor                 is all as it should be, and if not, what to do
  schedctl rpc TARGET METHOD ...  call any method of a broadcaster or a node

Exit codes: 0 wanted state reached, 1 failure, 2 usage or invalid file,
3 accepted but still pending at --timeout, 4 placed but crashing,
5 no broadcaster answers, 130 interrupted (the work goes on).
exec exits as the program that it runs.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.owner == "" {
				return nil
			}
			return placement.CheckName("owner", a.owner)
		},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.endpoint, "endpoint", "", "broadcaster, as tls://HOST:PORT, ipc:///PATH or tcp://HOST:PORT (default: $LONGSHORE_ENDPOINT, else the one on this machine)")
	flags.StringVar(&a.tlsDir, "tls-dir", "", "your certificate: ca.pem, cert.pem and key.pem (default: $LONGSHORE_TLS_DIR, else longshore in your configuration directory)")
	flags.BoolVar(&a.insecure, "insecure", false, "speak plain TCP to another machine")
	flags.StringVar(&a.owner, "owner", "", "owner of the apps meant (default: the name in your certificate, else your login name)")
	flags.StringVar(&a.key, "key", "", "idempotency key: what changes something is done once for it, however often the command runs within 10 min (default: a new one)")
	flags.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd.CommandPath()+" --help", "%v", err)
	})
	root.AddCommand(a.submit(), a.ps(), a.status(), a.explain(), a.trace(), a.events(), a.history(), a.rm(), a.retry(), a.stop(), a.start(), a.logs(), a.exec(), a.rpc(), a.node(), a.guard(), a.doctor(), a.ledger(), a.image(), a.ca(), a.dev(), a.devJanitor())
	wrapArgs(root)
	return root
}

// wrapArgs makes complaints about arguments ours, with exit code 2. A command
// that only holds others shows its help.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	switch {
	case cmd.RunE == nil:
		cmd.Args = unknownCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	case check != nil:
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) != nil {
				return usage(strings.TrimSuffix(cmd.UseLine(), " [flags]"), "%s does not take %s", cmd.CommandPath(), counted(len(args), "argument"))
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		wrapArgs(c)
	}
}

// unknownCommand refuses what is no command, and offers what was perhaps meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	next := cmd.CommandPath() + " --help lists the commands"
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		next = "did you mean " + cmd.CommandPath() + " " + strings.Join(like, ", or ") + "?"
	}
	return usage(next, "%s has no command %q", cmd.CommandPath(), args[0])
}

// counted is "1 node" or "3 nodes".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// usage is a mistake of the person who typed: what is wrong, and what to type.
func usage(next, what string, args ...any) error {
	return &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf(what, args...), Next: next}
}
