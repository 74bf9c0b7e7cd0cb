package hostinfo

// What only tests of this package see.
var (
	Asleep  = asleep
	Slept   = slept
	Backoff = backoff
	Jitter  = jitter
)
