package rpc

import (
	"fmt"
	"math"
	"time"
)

// A caller says how long it waits in either of two ways; of both the earlier
// one holds. Our own peers send what is left, deadline_ms, which needs no
// common clock. Stock clients may send a moment, deadline, in seconds since
// 1970: only that tells a request that libzmq kept while we were down, and
// delivers long after its caller has given up. It is compared with this
// machine's clock: a caller whose clock is behind ours by more than it waits
// has every call refused, one that is ahead has its old calls run for so much
// longer.
const (
	keyDeadline = "deadline_ms" // whole or broken number of milliseconds from now on
	keyMoment   = "deadline"    // whole or broken number of seconds since 1970
)

const (
	forever    = 1e12 // milliseconds from which on there is no deadline: 31 years
	lastMoment = 1e11 // seconds from which on milliseconds must be meant: the year 5138
)

// due is when the time of a caller whose request came at received is over, by
// our monotonic clock; zero: never.
func (e *event) due(received time.Time) (time.Time, error) {
	if e.left == nil && e.moment == nil {
		return time.Time{}, nil
	}
	left, err := number(keyDeadline, e.left)
	if err != nil {
		return time.Time{}, err
	}
	moment, err := number(keyMoment, e.moment)
	switch {
	case err != nil:
		return time.Time{}, err
	case moment < lastMoment:
		left = min(left, moment*1000-float64(received.UnixMicro())/1000)
	case !math.IsInf(moment, 1):
		return time.Time{}, invalid("header key %s is %g: it is in seconds since 1970, not in milliseconds", keyMoment, moment)
	}
	if left >= forever {
		return time.Time{}, nil
	}
	return received.Add(time.Duration(max(left, -forever) * float64(time.Millisecond))), nil
}

// number reads a number of the header; one that is not there is infinite.
func number(key string, raw []byte) (float64, error) {
	if raw == nil {
		return math.Inf(1), nil
	}
	if n, ok := readInt(raw); ok {
		return float64(n), nil
	}
	var f float64
	switch raw[0] {
	case 0xca:
		f = float64(math.Float32frombits(uint32(bigEndian(raw[1:5]))))
	case 0xcb:
		f = math.Float64frombits(bigEndian(raw[1:9]))
	default:
		f = math.NaN()
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, invalid("header key %s is no number", key)
	}
	return f, nil
}

// late refuses a call whose caller's time is over.
func late(due, now time.Time) error {
	if due.IsZero() || now.Before(due) {
		return nil
	}
	return &named{NameTimeout, fmt.Sprintf("the caller's time was over %v before the call could begin: it was not run (it is %s here)", now.Sub(due).Round(time.Millisecond), now.UTC().Format(time.RFC3339Nano))}
}
