// Package dice throws dice for parts with many goroutines. An outcome depends
// on the seed, on who throws and on when, and not on how many others threw
// before: so goroutines that wake at one moment may throw in any order, and a
// simulated run of a seed is the same each time.
package dice

import (
	"math/rand/v2"
	"time"
)

// Dice are one part's. The zero value is of no use; all methods may be called
// at the same time.
type Dice struct {
	seed uint64
	made time.Time
}

// New takes the seed from r, one number; nil: from the runtime's randomness.
func New(r *rand.Rand) Dice {
	if r == nil {
		return Dice{seed: rand.Uint64(), made: time.Now()}
	}
	return Dice{seed: r.Uint64(), made: time.Now()}
}

// Bits are 64 random bits. Who throws twice at one moment gets the same.
func (d Dice) Bits(who string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(who) {
		h = (h ^ uint64(who[i])) * 1099511628211
	}
	return mix(mix(d.seed^h) ^ uint64(time.Since(d.made)))
}

// Unit is uniform in [0, 1).
func (d Dice) Unit(who string) float64 { return float64(d.Bits(who)>>11) / (1 << 53) }

// UpTo is uniform in [0, most).
func (d Dice) UpTo(most time.Duration, who string) time.Duration {
	return time.Duration(d.Unit(who) * float64(most))
}

// mix spreads the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
