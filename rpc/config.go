package rpc

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Config says what one end of a link is and serves. Both ends serve their
// Methods, whoever dialled. The zero value serves only the built-in methods.
type Config struct {
	Identity string  // our name: the ZMTP identity when dialling, and what _zerorpc_name answers
	Methods  Methods // served on every link of this end

	Logger *slog.Logger // nil: nothing is logged

	// OnLink, if set, is called by Serve for each accepted link in a goroutine
	// of its own. The context ends with the link. Serve waits for it.
	OnLink func(ctx context.Context, l *Link)

	// Allow, if set, is asked before each call, built-in methods included; an
	// error refuses it (named "Refused" unless it has a name). It must be quick:
	// the link reads nothing meanwhile.
	Allow func(c *Call) error

	// Serve wraps every call served, built-in methods included, once Allow has
	// let it pass; Invoke wraps every call made. The first is the outermost.
	// They are what stock ZeroRPC calls middleware: the place for tracing, for
	// audit, for keys that make a call happen once.
	Serve  []func(next Handler) Handler
	Invoke []func(next Invoker) Invoker

	MaxHandlers int           // calls in progress on one link, above: "Busy" at once. 0: 1000
	MaxPending  int           // bytes of arguments of those calls, likewise. 0: 64 MiB
	MaxHeld     int           // the same over all links, of those that hold more than 64 KiB. 0: 256 MiB
	Heartbeat   time.Duration // of each channel; lost after twice this without one. 0: 5 s, what stock peers use
	Slots       int           // items a stream may hold for us unread. 0: 100

	Rand *rand.Rand // for the pauses of Keep, used by it alone; nil: the runtime's
}

// service is what all links of one Serve, Dial or Keep share.
type service struct {
	Config
	table   Methods
	pool    encoders
	plans   decoders
	held    atomic.Int64                                  // bytes of arguments of calls in progress
	handler Handler                                       // Serve around the method
	relay   func(ctx context.Context, in *incoming) error // answers every call, instead of the table
	invoker Invoker                                       // Invoke around issue; nil: there is no middleware
}

func newService(cfg Config) (*service, error) {
	if err := cfg.Methods.validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxHandlers <= 0 {
		cfg.MaxHandlers = 1000
	}
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = 64 << 20
	}
	if cfg.MaxHeld <= 0 {
		cfg.MaxHeld = 256 << 20
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 5 * time.Second
	}
	if cfg.Slots <= 0 {
		cfg.Slots = 100
	}
	s := &service{Config: cfg, table: withBuiltins(cfg.Methods, cfg.Identity)}
	s.chain()
	return s, nil
}
