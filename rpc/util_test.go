package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"longshore/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait is how long a test waits for what must happen.
const wait = 20 * time.Second

// network is one transport with an address to listen at.
type network struct {
	name string
	make func(tb testing.TB) (rpc.Transport, string)
}

func networks() []network {
	return []network{
		{"memory", func(testing.TB) (rpc.Transport, string) { return rpc.Memory(), "somewhere" }},
		{"tcp", func(testing.TB) (rpc.Transport, string) {
			return rpc.ZMQ(rpc.ZMQOptions{Handshake: wait}), "tcp://127.0.0.1:0"
		}},
		{"tls", func(tb testing.TB) (rpc.Transport, string) {
			tb.Helper()
			return rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(selfSigned(tb)), Handshake: wait}), "tls://127.0.0.1:0"
		}},
		{"ipc", func(tb testing.TB) (rpc.Transport, string) {
			tb.Helper()
			return rpc.ZMQ(rpc.ZMQOptions{Handshake: wait}), "ipc://" + socketPath(tb)
		}},
	}
}

func socketPath(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/tmp", "ls")
	must(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "a.sock")
}

// selfSigned is one certificate for both ends, which trust only it.
func selfSigned(tb testing.TB) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(tb, err)
	cert, err := x509.ParseCertificate(der)
	must(tb, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
}

// fixed is a source of certificates that are never renewed.
func fixed(conf *tls.Config) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return conf, nil }
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// within makes a context of the test that ends after wait.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	tb.Cleanup(cancel)
	return ctx
}

// server serves cfg on a fresh listener until stop is called or the test ends.
func server(tb testing.TB, tr rpc.Transport, addr string, cfg rpc.Config) (at string, stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := tr.Listen(ctx, addr)
	must(tb, err)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, l, cfg) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v", err)
		}
	}
	tb.Cleanup(stop)
	return l.Addr(), stop
}

// dial makes a link that is closed at the end of the test.
func dial(tb testing.TB, tr rpc.Transport, addr string, cfg rpc.Config) *rpc.Link {
	tb.Helper()
	l, err := rpc.Dial(within(tb), tr, addr, cfg)
	must(tb, err)
	tb.Cleanup(func() { _ = l.Close(); l.Wait() })
	return l
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.After(wait)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			tb.Fatalf("not within %v: %s", wait, what)
		case <-tick.C:
		}
	}
}

// receive takes from a channel in time.
func receive[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		tb.Fatalf("not within %v: %s", wait, what)
		panic("unreachable")
	}
}
