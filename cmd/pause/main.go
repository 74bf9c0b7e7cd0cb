// Command pause is the only program of a net container. It holds the network
// namespace that an owner's containers join, and does nothing else: it ends at
// once on SIGTERM or SIGINT, and reaps the children that it inherits as pid 1.
//
// It is built static, since it is the only file of its image.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that ended. Signals of one kind coalesce, so one
// SIGCHLD may stand for many.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
