package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

// Bounds of exec.
const (
	execTimeout   = time.Minute
	longestExec   = 24 * time.Hour
	usualOutput   = 1 << 20 // bytes kept of each output
	largestOutput = 3 << 19 // 1.5 MiB: both fit one message
)

// Command is the argument of exec and exec_stream.
type Command struct {
	Container string           `json:"container"`
	Argv      []string         `json:"argv"`       // program and arguments; no shell reads them
	Env       []string         `json:"env"`        // "NAME=value", beside the container's own
	Dir       string           `json:"dir"`        // working directory; "": the container's own
	User      string           `json:"user"`       // "": the container's own
	Stdin     []byte           `json:"stdin"`      // the whole input, str or bin
	Timeout   placement.Millis `json:"timeout"`    // ms after which it is killed; 0: 60 s, for a stream none
	MaxOutput int              `json:"max_output"` // bytes kept of each output; 0: 1 MiB; at most 1.5 MiB
	Key       string           `json:"key"`        // idempotency key, see rpc.Once; of exec alone
}

// Result is what exec answers.
type Result struct {
	Stdout   any  `json:"stdout"` // str, or bin where it is not UTF-8
	Stderr   any  `json:"stderr"`
	ExitCode int  `json:"exit_code"` // -1 if it was killed for its time
	TimedOut bool `json:"timed_out"`
	// Truncated says that an output was longer than max_output; Dropped how
	// many bytes of both were left out at the end.
	Truncated bool  `json:"truncated"`
	Dropped   int64 `json:"dropped"`
}

// Last is the last item of exec_stream.
type Last struct {
	ExitCode int  `json:"exit_code"`
	TimedOut bool `json:"timed_out"`
}

const execDoc = " The argument is a map: container, argv (list; no shell reads it), env (list of NAME=value), dir, user, stdin (str or bin), timeout (ms)"

func (c *Console) execMethods() rpc.Methods {
	exec := rpc.Unary("Run a command in a container and answer when it has ended: stdout, stderr, exit_code, timed_out, truncated, dropped."+execDoc+
		", 0 is 60 s), max_output (bytes kept of each output, 0 is 1 MiB), key. With a key it runs once: the same call again, within 10 min of its end, waits for and gets the same answer, also when the agent was restarted (OutcomeUnknown if that was before its end), and it goes on when its caller is gone. Without one it is killed when its caller goes away.", "command", c.exec)
	exec.Key = "key"
	return rpc.Methods{
		"exec": exec,
		"exec_stream": rpc.Streaming("Run a command in a container and stream its output as items {stream: stdout or stderr, data}; the last item is {exit_code, timed_out}. It is killed when its caller goes away."+execDoc+
			", 0 is none).", "command", c.execStream),
	}
}

// errTimeout ends a command that takes too long.
var errTimeout = errors.New("its time is over")

// prepare checks a command and finds its container.
func (c *Console) prepare(call *rpc.Call, cmd Command) (placement.ID, dockerd.Command, error) {
	invalid := func(why string) (placement.ID, dockerd.Command, error) {
		return "", dockerd.Command{}, &placement.Error{Kind: placement.KindInvalid, What: "this command cannot be run", Why: why, Next: "correct it"}
	}
	switch {
	case len(cmd.Argv) == 0 || cmd.Argv[0] == "":
		return invalid("argv names no program")
	case cmd.Timeout < 0 || cmd.Timeout.Duration() > longestExec:
		return invalid(fmt.Sprintf("its timeout is %d ms, and can be 0 to %d", cmd.Timeout, longestExec.Milliseconds()))
	case cmd.MaxOutput < 0 || cmd.MaxOutput > largestOutput:
		return invalid(fmt.Sprintf("max_output is %d bytes, and can be 0 to %d", cmd.MaxOutput, largestOutput))
	}
	for _, e := range cmd.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return invalid(fmt.Sprintf("%.40q of env is not NAME=value", e))
		}
	}
	id, err := c.find(call, cmd.Container)
	return id, dockerd.Command{Argv: cmd.Argv, Env: cmd.Env, Dir: cmd.Dir, User: cmd.User, Stdin: cmd.Stdin}, err
}

// limited is ctx with the command's own time; 0 is none.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, limit, errTimeout)
}

func (c *Console) exec(ctx context.Context, call *rpc.Call, cmd Command) (Result, error) {
	id, run, err := c.prepare(call, cmd)
	if err != nil {
		return Result{}, err
	}
	ctx, stop := limited(ctx, cmp.Or(cmd.Timeout.Duration(), execTimeout))
	defer stop()
	kept := keep{most: cmp.Or(cmd.MaxOutput, usualOutput), out: map[dockerd.Stream][]byte{}, cut: map[dockerd.Stream]bool{}}
	code, err := c.Insides.Exec(ctx, id, run, kept.take)
	r := Result{ExitCode: code, Dropped: kept.dropped, Truncated: kept.dropped > 0}
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		r.ExitCode, r.TimedOut, err = -1, true, nil
	}
	r.Stdout, r.Stderr = text(kept.out[dockerd.Stdout]), text(kept.out[dockerd.Stderr])
	return r, err
}

// keep keeps the beginning of each output and counts the rest.
type keep struct {
	most    int
	out     map[dockerd.Stream][]byte
	cut     map[dockerd.Stream]bool // it takes no more
	dropped int64
}

func (k *keep) take(from dockerd.Stream, b []byte) error {
	if k.cut[from] {
		k.dropped += int64(len(b))
		return nil
	}
	all := append(k.out[from], b...)
	if len(all) > k.most {
		n := whole(all[:k.most]) // a character that was cut is no text
		k.cut[from], k.dropped, all = true, k.dropped+int64(len(all)-n), all[:n]
	}
	k.out[from] = all
	return nil
}

func (c *Console) execStream(ctx context.Context, call *rpc.Call, cmd Command, send func(any) error) error {
	id, run, err := c.prepare(call, cmd)
	if err != nil {
		return err
	}
	ctx, stop := limited(ctx, cmd.Timeout.Duration())
	defer stop()
	var p pieces
	code, err := c.Insides.Exec(ctx, id, run, p.to(send))
	last := Last{ExitCode: code}
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		last, err = Last{ExitCode: -1, TimedOut: true}, nil
	}
	if err == nil {
		err = p.flush(send)
	}
	if err != nil {
		return err
	}
	return send(last)
}
