package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Errors that callers branch on.
var (
	// ErrLostRemote: the connection broke, or the peer missed two heartbeats.
	// What was asked may or may not have been done.
	ErrLostRemote = errors.New("rpc: lost remote")
	// ErrClosed: this end closed the link, stream or listener.
	ErrClosed = errors.New("rpc: closed")
	// ErrTimeout: the caller's deadline passed first. Such errors are also
	// context.DeadlineExceeded.
	ErrTimeout = errors.New("rpc: timed out")
	// ErrTooLarge: a message beyond the transport's bounds.
	ErrTooLarge = errors.New("rpc: message too large")
	// ErrSlowPeer: the peer did not read, and its queue is full.
	ErrSlowPeer = errors.New("rpc: peer reads too slowly")
	// ErrAddress: an address this transport cannot use; trying again is idle.
	ErrAddress = errors.New("rpc: unusable address")
)

// Names of the error triples this package itself sends. Append only.
const (
	NameInvalid        = "Invalid"        // arguments of wrong number or type
	NameUnknown        = "NameError"      // no such method
	NameBusy           = "Busy"           // too many calls in progress on this link
	NameRefused        = "Refused"        // Config.Allow said no
	NamePanic          = "Panic"          // the handler panicked
	NameTimeout        = "TimeoutExpired" // the caller's deadline passed in the handler, or before it
	NameCanceled       = "Canceled"       // the handler gave up
	NameLost           = "LostRemote"     // of a worker, to the client of its queue
	NameUnsupported    = "Unsupported"    // a protocol version before 2
	NameKeyConflict    = "KeyConflict"    // an idempotency key was used with other arguments
	NameResultGone     = "ResultGone"     // the call of this idempotency key was done; its result is not kept any more
	NameOutcomeUnknown = "OutcomeUnknown" // the call of this idempotency key was begun by a process that is gone
	NameOther          = "RemoteError"    // any other error of a handler
)

// RemoteError is an error triple from the other end.
type RemoteError struct {
	Name      string // what callers branch on
	Message   string // for people
	Traceback string // of stock peers; empty from ours
}

// Error is the message with its name.
func (e *RemoteError) Error() string { return e.Name + ": " + e.Message }

// ErrorName makes a relayed RemoteError keep its name.
func (e *RemoteError) ErrorName() string { return e.Name }

// Is makes a handler that ran into the caller's deadline a timeout here too:
// which end notices first is chance.
func (e *RemoteError) Is(target error) bool {
	return e.Name == NameTimeout && (target == ErrTimeout || target == context.DeadlineExceeded)
}

// lost is the ErrLostRemote that err means. It is never io.EOF: that is how a
// stream ends well.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the peer hung up", ErrLostRemote)
	}
	return fmt.Errorf("%w: %w", ErrLostRemote, err)
}

// named is an error of ours with the name of its triple.
type named struct{ name, message string }

func (e *named) Error() string     { return e.message }
func (e *named) ErrorName() string { return e.name }

func invalid(format string, args ...any) error {
	return &named{NameInvalid, fmt.Sprintf(format, args...)}
}

// triple turns a handler's error into what crosses the wire. The traceback is
// always nil: stock peers print it instead of the message when it is not.
func triple(err error) [3]any {
	var remote *RemoteError
	var name interface{ ErrorName() string }
	switch {
	case errors.As(err, &remote) && err.Error() == remote.Error():
		return [3]any{remote.Name, remote.Message, nil}
	case errors.As(err, &name):
		return [3]any{name.ErrorName(), err.Error(), nil}
	case errors.Is(err, ErrLostRemote):
		return [3]any{NameLost, err.Error(), nil}
	case errors.Is(err, context.DeadlineExceeded):
		return [3]any{NameTimeout, err.Error(), nil}
	case errors.Is(err, context.Canceled):
		return [3]any{NameCanceled, err.Error(), nil}
	}
	return [3]any{NameOther, err.Error(), nil}
}

// ctxError says why a caller's context ended, as an error of this package.
func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
	return ctx.Err()
}
