package dockerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/client"

	"longshore/internal/placement"
)

var (
	// ErrExists says that a container of the placement is there already; [ExistsError]
	// says of which epoch.
	ErrExists = errors.New("a container of this placement is there already")
	// ErrRefused says that Docker answered no.
	ErrRefused = errors.New("docker refused")
	// ErrUnknown says that no answer came: Docker may or may not have done it.
	ErrUnknown = errors.New("no answer from docker: outcome unknown")
	// ErrRunning says that a copy that was taken for never started runs, and was
	// left alone.
	ErrRunning = errors.New("it runs")
	// ErrNoDaemon says that the owner has no daemon on this node, or it is not ready.
	ErrNoDaemon = errors.New("the owner's daemon is not ready")
)

// ExistsError is an [ErrExists].
type ExistsError struct {
	ID    placement.ID
	Epoch placement.Epoch // of the container that is there
	State placement.CopyState
}

// Error names the placement and the epoch that is there.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("create %s: epoch %s is there already, %s", e.ID, e.Epoch, e.State)
}

// Is makes errors.Is(err, ErrExists) true.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// classify tells whether Docker answered (ErrRefused) or not (ErrUnknown), and
// says what was tried.
func classify(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case answered(err):
		return fmt.Errorf("%s: %w: %w", what, ErrRefused, err)
	default:
		return fmt.Errorf("%s: %w: %w", what, ErrUnknown, err)
	}
}

func answered(err error) bool {
	return !client.IsErrConnectionFailed(err) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}
