// Rpc is a ZeroRPC service in a few lines: what Expose makes of a Go value.
//
//	go run ./examples/rpc &
//	schedctl rpc tcp://localhost:1234 sleep 4
//	zerorpc tcp://localhost:1234 sleep 4
//
// An address may be given as its argument. It ends on SIGTERM or SIGINT.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"longshore/rpc"
)

//go:embed main.go
var source string

// bed is the service; the comments are what callers are told.
type bed struct{}

// Sleep waits, at most an hour, and answers what it was asked for.
func (bed) Sleep(ctx context.Context, seconds float64) (float64, error) {
	if seconds < 0 || seconds > 3600 {
		return 0, errors.New("seconds must be from 0 to 3600")
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return seconds, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	addr := "tcp://localhost:1234"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	listener, err := rpc.ZMQ(rpc.ZMQOptions{}).Listen(ctx, addr)
	if err == nil {
		fmt.Println("listening on", listener.Addr())
		err = rpc.Serve(ctx, listener, rpc.Config{Identity: "bed", Methods: rpc.Expose(bed{}, source)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rpc:", err)
		os.Exit(1)
	}
}
