package broadcaster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"longshore/internal/placement"
	"longshore/rpc"
)

// Bounds of exec.
const (
	execTime     = time.Minute      // of the command, if the caller names none
	execMore     = 15 * time.Second // for the way there and back
	execWidth    = 64               // replicas at a time
	execReplicas = 1_000            // of one call
	execOutput   = 3 << 20          // bytes of all outputs together: they travel in one message
	execEach     = 1 << 20          // bytes of one output
)

// Exec is a command to run in each replica that it names.
type Exec struct {
	Owner   string            `json:"owner"`   // of the replicas; a user's own may be left out
	App     string            `json:"app"`     // of the replicas
	Service string            `json:"service"` // "": all of the app
	Replica placement.Replica `json:"replica"` // OWNER/APP/SERVICE/N: only this one

	Argv      []string         `json:"argv"`       // program and arguments; no shell reads them
	Env       []string         `json:"env"`        // "NAME=value", beside the container's own
	Dir       string           `json:"dir"`        // working directory; "": the container's own
	User      string           `json:"user"`       // "": the container's own
	Stdin     []byte           `json:"stdin"`      // the whole input of each, str or bin
	Timeout   placement.Millis `json:"timeout"`    // ms after which it is killed; 0: 60 s
	MaxOutput int              `json:"max_output"` // bytes kept of each output; 0: 1 MiB; less if all would not fit 3 MiB
	Key       string           `json:"key"`        // idempotency key of the whole, which the nodes keep: this broadcaster may restart
}

// Execed is what became of a command in one replica.
type Execed struct {
	Replica   placement.Replica `json:"replica"`
	Node      placement.NodeID  `json:"node,omitempty"`
	Stdout    any               `json:"stdout"` // str, or bin where it is not UTF-8
	Stderr    any               `json:"stderr"`
	ExitCode  int               `json:"exit_code"` // -1 if it was killed for its time, or did not run
	TimedOut  bool              `json:"timed_out"`
	Truncated bool              `json:"truncated"`       // an output was longer than was kept
	Dropped   int64             `json:"dropped"`         // bytes of both outputs left out
	Error     *placement.Error  `json:"error,omitempty"` // why it did not run, or nobody knows
}

// nodeCommand is the argument of a node's exec.
type nodeCommand struct {
	Container placement.ID     `json:"container"`
	Argv      []string         `json:"argv"`
	Env       []string         `json:"env"`
	Dir       string           `json:"dir"`
	User      string           `json:"user"`
	Stdin     []byte           `json:"stdin"`
	Timeout   placement.Millis `json:"timeout"`
	MaxOutput int              `json:"max_output"`
}

func (b *Broadcaster) execMethod() rpc.Method {
	return rpc.Unary("Run a command in every replica that owner, app, service or replica name, all at the same time, and answer for each when all have ended: replica, node, stdout, stderr, exit_code, or error. One that does not run has an error. With a key it runs once in each copy: the same call again, within 10 min, asks each node for what it did, waits for it if need be, and runs it where it did not get.", "exec", b.exec)
}

// exec runs a command in all chosen replicas.
func (b *Broadcaster) exec(ctx context.Context, c *rpc.Call, e Exec) ([]Execed, error) {
	f, err := oneApp(c, "run a command in", placement.Filter{Owner: e.Owner, App: e.App, Service: e.Service, Replica: e.Replica})
	if err != nil {
		return nil, err
	}
	if len(e.Argv) == 0 || e.Timeout < 0 || e.MaxOutput < 0 {
		return nil, invalid("this command cannot be run", "argv names no program, or timeout or max_output is negative", "correct it")
	}
	all, err := b.deps.Apps.Statuses(ctx, f)
	if err != nil {
		return nil, err
	}
	switch {
	case len(all) == 0:
		return nil, &placement.Error{Kind: placement.KindNotFound, What: "there is no such replica", Why: "no replica fits", Next: "schedctl ps lists them"}
	case len(all) > execReplicas:
		return nil, invalid(fmt.Sprintf("a command cannot be run in %d replicas at once", len(all)), fmt.Sprintf("at most %d are allowed", execReplicas), "name one service or replica")
	}
	ctx, stop := context.WithTimeout(onBehalf(ctx, c), cmp.Or(e.Timeout.Duration(), execTime)+execMore)
	defer stop()
	key := e.Key
	if key == "" {
		if key, _, err = c.IdempotencyKey(); err != nil {
			return nil, err
		}
	}
	e.MaxOutput = min(cmp.Or(e.MaxOutput, execEach), execOutput/(2*len(all)))
	done := make([]Execed, len(all))
	var g errgroup.Group
	g.SetLimit(execWidth)
	for i, s := range all {
		g.Go(func() error {
			done[i] = b.execIn(ctx, s, e, key)
			return nil
		})
	}
	return done, g.Wait()
}

// execIn runs the command in one replica, once for each key and life of it.
func (b *Broadcaster) execIn(ctx context.Context, s placement.Status, e Exec, key string) Execed {
	x := Execed{ExitCode: -1}
	q := relay{node: s.Node, method: "exec", args: []any{nodeCommand{
		Container: s.ID, Argv: e.Argv, Env: e.Env, Dir: e.Dir, User: e.User, Stdin: e.Stdin, Timeout: e.Timeout, MaxOutput: e.MaxOutput,
	}}}
	if key != "" {
		sum := sha256.Sum256([]byte(key + "\x00" + string(s.ID)))
		ctx = rpc.WithIdempotencyKey(ctx, hex.EncodeToString(sum[:]))
	}
	err := error(&placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s does not run", s.Replica), Why: cmp.Or(s.Why, "it is "+s.State.Word()), Next: "schedctl explain says more"})
	if s.State == placement.Running {
		var link caller
		if link, err = b.deps.Agents.reach(s.Node); err == nil {
			err = q.failure(link.Call(ctx, q.method, &x, q.args...))
		}
	}
	if errors.Is(err, context.DeadlineExceeded) { // noticed by either end
		err = &placement.Error{Kind: placement.KindUnavailable, What: fmt.Sprintf("node %s did not answer in time", s.Node), Next: "it may have run or not: look, and call again with the same key"}
	}
	x.Replica, x.Node, x.Error = s.Replica, s.Node, asError(err)
	if err != nil {
		x.ExitCode = -1
	}
	return x
}

// asError is an error as it travels inside of an answer.
func asError(err error) *placement.Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*placement.Error); ok { //nolint:errorlint // only one that is nothing else is passed on whole
		return e
	}
	return &placement.Error{Kind: placement.KindUnavailable, What: err.Error(), Next: "it may have run or not: look, and call again with the same key"}
}
