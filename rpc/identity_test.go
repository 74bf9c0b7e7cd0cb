package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"longshore/rpc"
)

// TestTwins: two peers of one name and one message id are two peers: each gets
// its own answers, and neither reaches into the other's channel.
func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := rpc.Memory()
		at, stop := server(t, tr, "x", rpc.Config{Methods: house()})
		var twins [2]*puppet
		for i := range twins {
			conn, err := tr.Dial(t.Context(), at, "twin")
			must(t, err)
			twins[i] = &puppet{t, conn}
		}
		twins[0].ask("id", "count", 100)
		twins[1].ask("id", "add", 3, 4)
		if e := twins[1].recv(); e.Name != "OK" || fmt.Sprint(e.Args) != "[7]" {
			t.Errorf("the second twin got %+v", e)
		}
		if e := twins[0].recv(); e.Name != "STREAM" || fmt.Sprint(e.Args) != "0" {
			t.Errorf("the first twin got %+v", e)
		}
		twins[1].on("id", "_zpc_more", []any{50}) // of the other's channel
		twins[1].on("id", "_zpc_cancel", []any{})
		synctest.Wait()
		twins[1].ask("id", "add", 1, 1)
		if e := twins[1].recv(); e.Name != "OK" {
			t.Errorf("the second twin got %+v", e)
		}
		twins[0].on("id", "_zpc_more", []any{1}) // it lives, and has this credit alone
		if e := twins[0].recv(); e.Name != "STREAM" || fmt.Sprint(e.Args) != "1" {
			t.Errorf("then the first twin got %+v", e)
		}
		if e := twins[0].recv(); !e.beat() {
			t.Errorf("the first twin got more than it asked for: %+v", e)
		}
		for _, p := range twins {
			must(t, p.conn.Close())
		}
		stop()
	})
}

// TestTwoListeners: one transport listens at two addresses; the end of one is
// not the end of the other.
func TestTwoListeners(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	one, stopOne := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Identity: "one", Methods: house()})
	two, _ := server(t, tr, "ipc://"+socketPath(t), rpc.Config{Identity: "two", Methods: house()})
	for at, want := range map[string]string{one: "one", two: "two"} {
		var name string
		must(t, dial(t, tr, at, rpc.Config{}).Call(within(t), "_zerorpc_name", &name))
		if name != want {
			t.Errorf("%s is %s", at, name)
		}
	}
	stopOne()
	if c, err := net.Dial("tcp", strings.TrimPrefix(one, "tcp://")); err == nil {
		_ = c.Close()
		t.Error("the first address is still bound")
	}
	must(t, dial(t, tr, two, rpc.Config{}).Call(within(t), "add", nil, 1, 2))
}

// TestSocketOfOthers: the kernel keeps a user out of a socket of 0660 who is
// neither its owner nor of its group.
func TestSocketOfOthers(t *testing.T) {
	path := socketPath(t)
	must(t, os.Chmod(filepath.Dir(path), 0o755)) // the socket's own mode decides
	server(t, rpc.ZMQ(rpc.ZMQOptions{}), "ipc://"+path, rpc.Config{Methods: house()})
	const connect = "import os,socket,sys\nos.setgroups([]);os.setgid(65534);os.setuid(65534)\n" +
		"print(socket.socket(socket.AF_UNIX).connect_ex(sys.argv[1]))"
	out, err := exec.CommandContext(within(t), "/usr/bin/python3", "-c", connect, path).CombinedOutput()
	if err != nil || string(out) != "13\n" { // EACCES
		t.Errorf("nobody connects: %s, %v", out, err)
	}
}

// TestKeepThroughRefusals: every failure is tried again, also one in the middle
// of the handshake.
func TestKeepThroughRefusals(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	at := "tcp://" + ln.Addr().String()
	refused := make(chan bool)
	go func() {
		for _, first := range [][]byte{nil, []byte("HTTP/1.1 400"), greeting()[:20], append(greeting(), ready("PUB")...)} {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(first)
			_ = c.Close()
		}
		_ = ln.Close()
		close(refused)
	}()
	up := make(chan bool, 1)
	ctx, cancel := context.WithCancel(within(t))
	done := make(chan error, 1)
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	go func() {
		done <- rpc.Keep(ctx, tr, at, rpc.Config{}, func(ctx context.Context, l *rpc.Link) error {
			err := l.Call(ctx, "add", nil, 1, 2)
			up <- err == nil
			<-ctx.Done()
			return err
		})
	}()
	receive(t, "all refusals", refused)
	server(t, tr, at, rpc.Config{Methods: house()})
	if !receive(t, "it is up", up) {
		t.Error("the first call failed")
	}
	cancel()
	must(t, receive(t, "the end", done))
}

// TestCertificates: out of time, of an authority that is another's, and old
// versions of TLS do not get in.
func TestCertificates(t *testing.T) {
	ours := selfSigned(t)
	at, _ := server(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(ours)}), "tls://127.0.0.1:0", rpc.Config{Methods: house()})
	old := ours.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS12
	for name, conf := range map[string]*tls.Config{
		"expired":     lasting(t, ours, -2*time.Hour, -time.Hour),
		"not yet":     lasting(t, ours, time.Hour, 2*time.Hour),
		"old version": old,
	} {
		l, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(conf), Handshake: 5 * time.Second}), at, rpc.Config{})
		if err == nil { // TLS 1.3 tells a client only later
			err = l.Call(within(t), "add", nil, 1, 2)
			_ = l.Close()
		}
		if err == nil {
			t.Errorf("%s: got in", name)
		}
	}
	good := lasting(t, ours, -time.Hour, time.Hour)
	must(t, dial(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(good)}), at, rpc.Config{}).Call(within(t), "add", nil, 1, 2))
}

// TestOnlyTLS13: a client that speaks at most TLS 1.2, the last with
// renegotiation, is refused for its version, even by a configuration that would
// let it in. (TLS 1.3 has none, and Go's server takes no early data.)
func TestOnlyTLS13(t *testing.T) {
	lenient := selfSigned(t)
	lenient.MinVersion = tls.VersionTLS12
	at, _ := server(t, rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(lenient)}), "tls://127.0.0.1:0", rpc.Config{Methods: house()})
	for version, want := range map[uint16]string{tls.VersionTLS12: "protocol version", tls.VersionTLS13: ""} {
		conf := lenient.Clone()
		conf.MaxVersion, conf.Renegotiation = version, tls.RenegotiateFreelyAsClient
		c, err := (&tls.Dialer{Config: conf}).DialContext(within(t), "tcp", strings.TrimPrefix(at, "tls://"))
		if want == "" {
			must(t, err)
			must(t, c.Close())
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// lasting is a client's certificate of the authority in conf with these times.
func lasting(t *testing.T, conf *tls.Config, from, until time.Duration) *tls.Config {
	t.Helper()
	ca, err := x509.ParseCertificate(conf.Certificates[0].Certificate[0])
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
	}, ca, &key.PublicKey, conf.Certificates[0].PrivateKey)
	must(t, err)
	own := conf.Clone()
	own.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return own
}
