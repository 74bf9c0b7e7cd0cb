// Hello is the program of the example app: one static file, no dependencies,
// at home in an image FROM scratch.
//
//	GET /         a line that says who answers
//	GET /healthz  "ok"
//
// It is set by its environment:
//
//	PORT      TCP port to listen on; default 8080
//	GREETING  what to say; default "hello"
//
// It ends at once, with exit code 0, on SIGTERM or SIGINT.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	greeting := cmp.Or(os.Getenv("GREETING"), "hello")
	began := time.Now()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from %s to %s, up %s\n", greeting, host, r.RemoteAddr, time.Since(began).Round(time.Second))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	// Close, not Shutdown: a greeting is not worth waiting for.
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Println("told to stop")
	return nil
}
