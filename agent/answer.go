package agent

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// answerFor is how long an answer counts, from the sending of its bind.
const answerFor = 5 * time.Second

// sleepAllowed is what the machine's two clocks may drift apart between two
// readings without a suspend: the readings are not taken at one instant.
const sleepAllowed = 100 * time.Millisecond

// Instant is a moment as the agent measures ages: by the clock of [time], which
// stands still while the machine is suspended, and by how long it has been
// suspended since it was booted.
type Instant struct {
	Time   time.Time
	Asleep time.Duration
}

// Now is the present instant.
func Now() Instant { return Instant{Time: time.Now(), Asleep: asleep()} }

// asleep is CLOCK_BOOTTIME minus CLOCK_MONOTONIC, the least of three readings:
// being descheduled between the two clocks makes it look longer.
func asleep() time.Duration {
	read := func() time.Duration {
		var mono, boot unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
			return 0
		}
		return time.Duration(boot.Nano() - mono.Nano())
	}
	return min(read(), read(), read())
}

// Counts tells whether the answer to a bind that was sent then may still be
// acted on now: it is younger than 5 s, and the machine did not sleep.
func Counts(sent, now Instant) bool {
	return now.Time.Sub(sent.Time) < answerFor && now.Asleep-sent.Asleep < sleepAllowed
}

// Backoff is how long to wait after so many failures in a row (from 1): full
// jitter below 100 ms doubled each time, at most 5 s. random is in [0, 1).
func Backoff(failures int, random float64) time.Duration {
	ceiling := min(100*time.Millisecond<<min(failures-1, 10), 5*time.Second)
	return time.Duration(random * float64(ceiling))
}

// wait lets d pass, or less if ctx ends; then it answers false.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
