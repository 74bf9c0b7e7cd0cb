package rpc_test

import (
	"testing"
	"time"

	"longshore/rpc"
)

// TestWheel: who beats and who is lost, at which tick.
func TestWheel(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		turns []time.Duration // when the wheel turns
		heard []time.Duration // when the peer was heard
		lost  time.Duration   // 0: never
	}{
		"never heard":              {[]time.Duration{5 * s, 10 * s, 15 * s, 20 * s}, nil, 15 * s},
		"heard at first only":      {[]time.Duration{5 * s, 10 * s, 15 * s, 20 * s}, []time.Duration{1 * s}, 15 * s},
		"heard once more":          {[]time.Duration{5 * s, 10 * s, 15 * s, 20 * s}, []time.Duration{6 * s}, 20 * s},
		"heard at every tick":      {[]time.Duration{5 * s, 10 * s, 15 * s, 20 * s}, []time.Duration{5 * s, 10 * s, 15 * s}, 0},
		"we were stopped":          {[]time.Duration{5 * s, 10 * s, 60 * s, 65 * s}, nil, 0},
		"stopped, then still dead": {[]time.Duration{5 * s, 10 * s, 60 * s, 65 * s, 70 * s}, nil, 70 * s},
	} {
		if got := rpc.TurnWheel(5*s, c.turns, c.heard); got != c.lost {
			t.Errorf("%s: lost at %v, want %v", name, got, c.lost)
		}
	}
}
