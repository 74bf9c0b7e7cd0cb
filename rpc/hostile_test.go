package rpc_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"longshore/rpc"
)

// What hostile, broken and unlucky peers do, and the test that holds us to it.
// Numbers are those of reliability.md 6.3; "6.2" is its table of hostile bytes.
//
//	Transport
//	1  silent peers, before and within TLS, mid-READY    TestSilent; 500 of them: TestFlood
//	2, 3 half a greeting, a byte at a time               TestSilent
//	4  another mechanism, version, socket type           TestHostile, TestHandshakesAreClosed
//	5  frames of 2^49 ... 2^64, 8 and 200 GiB, limit+1   TestHostile, FuzzGuard
//	6  multipart without end, in frames and in bytes     TestHostile, TestMemory
//	7  frames of no bytes                                TestHostile, FuzzGuard
//	8  commands behind the handshake, malformed READY    TestHostile, FuzzGuard
//	9  connections all the time, of one source           TestFlood, TestConnectionBounds, TestSourceBound
//	10 no certificate, foreign, expired, old TLS         TestTLSRefusals, TestCertificates; role: wiring TestAllow
//	11 one node speaks for another                       TestPeerOfCertificate; broadcaster TestSpeaksAs
//	12 renegotiation and early data                      Go's TLS 1.3 server has neither
//	13 what was recorded is sent again                   retryq/rule TestBind, retryq TestReportsOutOfOrderAreDropped
//	   all of this by who was dialled                    TestHostileServer
//	   messages begun, answers not read, PINGs           TestMemory, TestUnreadAnswers, TestSlowCaller
//	   no file descriptors left                          TestNoDescriptors
//	   the end during all of it                          TestCloseUnderAttack, TestCloseUnderTraffic
//	   restarts under calls; failed handshakes           TestRestarts, TestKeepThroughRestarts, TestKeepThroughRefusals
//	   killed and stalled for long                       TestSoak
//	   ZMTP heartbeats of libzmq                         TestPing, test/interop
//	   a stale socket file, modes, other users           TestUnixSocket, TestSocketOfOthers, TestPeerOfSocket
//	   two listeners; two peers of one name              TestTwoListeners, TestTwins; broadcaster TestSecondSession
//
//	Bytes and values
//	14, 18, 23 all of 6.2, extensions, trailing bytes    TestScan, TestBadEvents, FuzzScan, FuzzEvent
//	15 a million keys                                    TestBadEvents ("many"): 100,000 values are the bound
//	16 a key twice                                       the last counts, for every reader of it
//	17, 19 ... 22 numbers out of range, wrong types, nil TestHostileValues; broadcaster TestNormalizeRefuses
//	24 versions and ids of the header                    TestServerAnswers, FuzzEvent
//	   what we send is what stock peers can read         TestErrors, TestValues, test/interop
//	   credit, heartbeats, blocked peers                 TestServerCredits, TestClientCredits, TestClientHeartbeats, test/interop
//	   requests out of date                              TestStaleRequests
//
//	Authority
//	44 the things of other owners                        broadcaster TestOwns, TestNarrow
//	45 operators' methods by a user                      wiring TestAllow, TestEveryMethodHasALine
//	46 names with separators and twins                   internal/placement TestReplicaNames
//	48 a copy that is another's                          retryq/rule TestSeen, TestBind
//	49 a million copies, or none                         more than 100,000 values: TestBadEvents; hostinfo TestMassGuard
//	50 a domain of its own choice                        the operator's record counts: internal/placement TestDomain
//	51 a node's order to stop                            wiring TestAllow: "stop" of a node is the broadcaster's

// greeting is the first 64 bytes of a ZMTP 3.0 peer with the NULL mechanism.
func greeting() []byte {
	b := make([]byte, 64)
	b[0], b[9], b[10] = 0xff, 0x7f, 3
	copy(b[12:], "NULL")
	return b
}

// command is a ZMTP command frame.
func command(name string, body []byte) []byte {
	b := append([]byte{4, byte(1 + len(name) + len(body)), byte(len(name))}, name...)
	return append(b, body...)
}

func property(name, value string) []byte {
	b := append([]byte{byte(len(name))}, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

func ready(kind string) []byte {
	return command("READY", append(property("Socket-Type", kind), property("Identity", "foe")...))
}

// raw is a TCP connection to a listener of ours.
func raw(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(addr, "tcp://"))
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	must(tb, c.SetDeadline(time.Now().Add(wait)))
	return c
}

// hungUp waits until the other end has closed c.
func hungUp(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection was not closed")
	}
}

// attacks is what a stranger may send before and after the handshake. role is
// the socket type that he says he is.
func attacks(role string) map[string][]byte {
	long := func(flags byte, size uint64) []byte {
		return binary.BigEndian.AppendUint64([]byte{flags}, size)
	}
	hello := func(more ...[]byte) []byte {
		return bytes.Join(append([][]byte{greeting(), ready(role)}, more...), nil)
	}
	return map[string][]byte{
		"noise":                 bytes.Repeat([]byte("GET / HTTP/1.0\r\n"), 10),
		"version 2":             append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1}, make([]byte, 53)...),
		"other mechanism":       bytes.Replace(greeting(), []byte("NULL"), []byte("PLAI"), 1),
		"ready cut":             append(greeting(), command("READY", property("Socket-Type", role)[:9])...),
		"ready huge value":      append(greeting(), command("READY", []byte{1, 'x', 255, 255, 255, 255})...),
		"ready long key":        append(greeting(), command("READY", []byte{200, 'x'})...),
		"ready of no type":      append(greeting(), command("READY", nil)...),
		"ready of many":         append(greeting(), command("READY", bytes.Repeat(property("x", ""), 17))...),
		"unknown socket type":   append(greeting(), ready("NONSENSE")...),
		"wrong socket type":     append(greeting(), ready("PUB")...),
		"empty command":         append(greeting(), 4, 0),
		"command name cut":      append(greeting(), 4, 2, 9, 'R'),
		"command of 2^62":       append(greeting(), long(6, 1<<62)...),
		"frame before ready":    append(greeting(), 0, 1, 1),
		"frame of 2^49":         hello(long(2, 1<<49)),
		"frame of 2^62":         hello(long(2, 1<<62)),
		"frame of 2^63":         hello(long(2, 1<<63)),
		"frame of 2^64-1":       hello(long(2, 1<<64-1)),
		"frame of 8 GiB":        hello(long(2, 8<<30)),
		"frame of 200 GiB":      hello(long(2, 200<<30)),
		"frame one too big":     hello(long(2, rpc.MaxFrame+1)),
		"endless multipart":     hello(bytes.Repeat([]byte{1, 0}, 1000)),
		"too much in all":       hello(bytes.Repeat(append(long(3, 4<<20), make([]byte, 4<<20)...), 5)),
		"reserved flags":        hello([]byte{0x80, 1, 1}),
		"command in a message":  hello([]byte{1, 1, 1}, command("PING", []byte{0, 0})),
		"command too long":      hello(long(6, 5000)),
		"empty message":         hello([]byte{0, 0}),
		"no msgpack":            hello([]byte{0, 3, 0xc1, 0xc1, 0xc1}),
		"second ready and junk": hello(ready(role), []byte{0, 1, 0xc1}),
	}
}

// TestHostile: what a stranger sends costs him his connection, and nobody else
// anything: neither those who are served with him, nor who dialled him.
func TestHostile(t *testing.T) {
	tr := rpc.ZMQ(rpc.ZMQOptions{})
	at, stop := server(t, tr, "tcp://127.0.0.1:0", rpc.Config{Methods: house()})
	good := dial(t, tr, at, rpc.Config{})
	for name, b := range attacks("DEALER") {
		c := raw(t, at)
		_, _ = c.Write(b) // may be refused half way
		hungUp(t, c)
		began := time.Now()
		must(t, good.Call(within(t), "add", nil, 1, 2))
		if d := time.Since(began); d > wait/2 {
			t.Errorf("%s: a call beside it took %v", name, d)
		}
	}
	stop()
}

// TestHostileServer: the same by who was dialled.
func TestHostileServer(t *testing.T) {
	for name, b := range attacks("ROUTER") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			hung := make(chan error, 1)
			go func() {
				c, err := ln.Accept()
				if err == nil {
					defer c.Close()
					_, _ = c.Write(b)
					_, err = io.Copy(io.Discard, c) // until we hang up
				}
				hung <- err
			}()
			l, err := rpc.Dial(within(t), rpc.ZMQ(rpc.ZMQOptions{}), "tcp://"+ln.Addr().String(), rpc.Config{})
			if err == nil {
				if err = l.Call(within(t), "anything", nil); !errors.Is(err, rpc.ErrLostRemote) {
					t.Errorf("a call: %v", err)
				}
				l.Wait()
			}
			_ = receive(t, "we hang up", hung)
		})
	}
}
