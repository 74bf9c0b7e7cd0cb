package hostinfo

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// asleep is how long this machine has been suspended since its boot: what
// CLOCK_BOOTTIME counts and CLOCK_MONOTONIC, by which Go measures, does not.
// The two are read one after the other, so a pause between the readings makes
// the answer too small; the largest of three is taken.
func asleep() (time.Duration, error) {
	var longest time.Duration
	for range 3 {
		var boot, mono unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
			return 0, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
		}
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
			return 0, fmt.Errorf("read CLOCK_MONOTONIC: %w", err)
		}
		longest = max(longest, time.Duration(boot.Nano()-mono.Nano()))
	}
	return longest, nil
}

// slept tells whether the machine was suspended between two readings of
// asleep, which differ a little anyway.
func slept(before, after time.Duration) bool { return after-before > 500*time.Millisecond }
