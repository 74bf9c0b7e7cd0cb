package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile is one for the whole host, whichever cluster and node: choosing a
// subnet and putting it where others see it must not be done by two at once.
const lockFile = "/run/longshore-hostnet.lock"

const lockPoll = 5 * time.Millisecond

// lockHost waits for the host's lock. It ends with the process, too.
func lockHost(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the host's subnets: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock the host's subnets: %w", err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock the host's subnets: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
