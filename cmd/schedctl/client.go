package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"longshore/internal/pki"
	"longshore/internal/placement"
	"longshore/internal/trace"
	"longshore/rpc"
)

// The sockets that are tried, in this order, when no endpoint is named.
const (
	productionSocket = "/run/longshore/broadcaster.sock"
	endpointVariable = "LONGSHORE_ENDPOINT"
	tlsVariable      = "LONGSHORE_TLS_DIR"
)

// callTimeout bounds one question to the broadcaster; submit has its own.
const callTimeout = 15 * time.Second

// findEndpoint is the address to dial: the flag, the variable, or the socket
// of whatever cluster is on this machine.
func (a *app) findEndpoint() (string, error) {
	if a.endpoint != "" {
		return a.endpoint, nil
	}
	if e := os.Getenv(endpointVariable); e != "" {
		return e, nil
	}
	for _, socket := range []string{productionSocket, newDevPaths("default").socket()} {
		if _, err := os.Stat(socket); err == nil {
			return "ipc://" + socket, nil
		}
	}
	return "", &exitError{exitUnreachable, &placement.Error{
		Kind: placement.KindUnavailable,
		What: "no cluster to talk to",
		Why:  fmt.Sprintf("no --endpoint, no $%s, and no broadcaster's socket on this machine", endpointVariable),
		Next: "schedctl dev starts a cluster here; schedctl --endpoint tls://HOST:7700 talks to one elsewhere",
	}}
}

// dial connects to the broadcaster.
func (a *app) dial(ctx context.Context) (*rpc.Link, error) {
	endpoint, err := a.findEndpoint()
	if err != nil {
		return nil, err
	}
	return a.dialTo(ctx, endpoint, "broadcaster")
}

// dialTo connects to an address; what is the word for who should answer there.
func (a *app) dialTo(ctx context.Context, endpoint, what string) (*rpc.Link, error) {
	if !strings.HasPrefix(endpoint, "tls://") && !strings.HasPrefix(endpoint, "tcp://") && !strings.HasPrefix(endpoint, "ipc:///") {
		return nil, usage("write tls://HOST:PORT, ipc:///PATH or tcp://HOST:PORT", "%q is no address of a %s", endpoint, what)
	}
	transport, err := a.transport(endpoint)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	link, err := rpc.Dial(bounded, transport, endpoint, rpc.Config{Invoke: []func(rpc.Invoker) rpc.Invoker{trace.Invoke}})
	if ctx.Err() != nil {
		if err == nil {
			link.Close()
		}
		return nil, &exitError{code: exitInterrupted}
	}
	if told := pki.Explain(err); told != nil {
		return nil, &exitError{exitUnreachable, told}
	}
	if err != nil {
		next := "is it running there?"
		if what == "broadcaster" {
			next = "is broadcasterd running there? running containers are not affected"
		}
		return nil, &exitError{exitUnreachable, &placement.Error{
			Kind: placement.KindUnavailable,
			What: "no " + what + " answers at " + endpoint,
			Why:  strings.TrimSpace(err.Error()),
			Next: next,
		}}
	}
	return link, nil
}

// call asks the broadcaster one thing on a connection of its own.
func (a *app) call(ctx context.Context, method string, result any, args ...any) error {
	link, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer link.Close()
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = link.Call(bounded, method, result, args...)
	if err != nil && ctx.Err() != nil {
		return &exitError{code: exitInterrupted}
	}
	return err
}

// once has the calls made with the context done once: with the key of the
// command line, or one of this command's own.
func (a *app) once(ctx context.Context) context.Context {
	return rpc.WithIdempotencyKey(ctx, cmp.Or(a.key, rand.Text()))
}

// certificate is that of whoever types: of the flag, the variable, or the
// configuration directory.
func (a *app) certificate() (*pki.Store, error) {
	dir := cmp.Or(a.tlsDir, os.Getenv(tlsVariable))
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return nil, usage("give --tls-dir", "your configuration directory is not known: %v", err)
		}
		dir = filepath.Join(config, "longshore")
	}
	return pki.Open(dir)
}

// ownerName is the owner meant: the flag, else the name of a user whose
// certificate the broadcaster sees, else the login name.
func (a *app) ownerName() (string, error) {
	if a.owner != "" {
		return a.owner, placement.CheckName("owner", a.owner)
	}
	if endpoint, err := a.findEndpoint(); err == nil && strings.HasPrefix(endpoint, "tls://") {
		if store, err := a.certificate(); err == nil && store.Identity().Role == placement.RoleUser {
			return store.Identity().Name, nil
		}
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("find your login name: %w", err)
	}
	return u.Username, nil
}

// appFilter reads "APP" or "OWNER/APP".
func (a *app) appFilter(arg string) (placement.Filter, error) {
	parts := strings.Split(arg, "/")
	if len(parts) > 2 {
		return placement.Filter{}, usage("an app is APP or OWNER/APP", "%q names no app", arg)
	}
	return a.filterOf(parts, parts[:len(parts)-1])
}

// replicaFilter reads "APP/SERVICE/N" or "OWNER/APP/SERVICE/N".
func (a *app) replicaFilter(arg string) (placement.Filter, error) {
	parts := strings.Split(arg, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return placement.Filter{}, usage("a replica is APP/SERVICE/N or OWNER/APP/SERVICE/N; schedctl ps lists them", "%q names no replica", arg)
	}
	f, err := a.filterOf(parts[:len(parts)-2], parts[:len(parts)-3])
	if err != nil {
		return f, err
	}
	f.Replica, err = placement.ParseReplica(strings.Join([]string{f.Owner, f.App, parts[len(parts)-2], parts[len(parts)-1]}, "/"))
	return f, err
}

// filterOf takes the app from the end of parts, the owner from owners or from
// the person who types.
func (a *app) filterOf(parts, owners []string) (f placement.Filter, err error) {
	f.App = parts[len(parts)-1]
	if len(owners) == 1 {
		f.Owner = owners[0]
	} else if f.Owner, err = a.ownerName(); err != nil {
		return f, err
	}
	return f, errors.Join(placement.CheckName("owner", f.Owner), placement.CheckName("app", f.App))
}

// hint adds to "no such app" where an app of that name is.
func (a *app) hint(ctx context.Context, f placement.Filter, err error) error {
	var told *placement.Error
	if err = fromWire(err); !errors.As(err, &told) || told.Kind != placement.KindNotFound {
		return err
	}
	var others []placement.Status
	if a.call(ctx, "status", &others, placement.Filter{App: f.App, All: true}) != nil {
		return err
	}
	for _, s := range others {
		if s.Replica.Owner() != f.Owner {
			return &placement.Error{Kind: told.Kind, What: told.What, Why: told.Why, Next: fmt.Sprintf("%s has an app of that name: %s/%s", s.Replica.Owner(), s.Replica.Owner(), f.App)}
		}
	}
	return err
}
