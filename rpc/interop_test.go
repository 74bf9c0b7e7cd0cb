//go:build interop

// Needs Debian's python3-zmq and python3-msgpack.

package rpc_test

import (
	"os/exec"
	"testing"

	"longshore/rpc"
)

// foreign speaks ZeroRPC by hand on libzmq: a call, an error, a stream with
// credits and a wait through heartbeats, with ids as bin and as str, and ZMTP
// heartbeats on.
const foreign = `
import sys, time, zmq, msgpack
ctx = zmq.Context()
s = ctx.socket(zmq.DEALER)
s.setsockopt(zmq.HEARTBEAT_IVL, 200)
s.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1000)
s.setsockopt(zmq.LINGER, 0)
s.RCVTIMEO = 20000
s.connect(sys.argv[1])
def send(header, name, args):
    s.send_multipart([b"", msgpack.packb([header, name, args], use_bin_type=True)])
def recv():
    empty, event = s.recv_multipart()
    assert empty == b""
    return msgpack.unpackb(event, raw=False)
for i in (b"\xff" * 16, "text", b"0" * 32):
    send({"message_id": i, "v": 3}, "add", [1, 2])
    h, n, a = recv()
    assert (h["response_to"], h["v"], n, a) == (i, 3, "OK", [3]), (h, n, a)
send({"message_id": b"e", "v": 3}, "fail", ["so"])
h, n, a = recv()
assert (n, a) == ("ERR", ["RemoteError", "so", None]), (n, a)
send({"message_id": b"p", "v": 3}, "_zerorpc_inspect", [])
h, n, a = recv()
assert a[0]["methods"]["add"]["args"] == [{"name": "a"}, {"name": "b"}], a
send({"message_id": b"s", "v": 3}, "count", [1000])
credit, got = 1, 0
while True:
    h, n, a = recv()
    if n == "STREAM_DONE":
        break
    assert (n, a) == ("STREAM", got), (n, a, got)
    got += 1
    credit -= 1
    if credit < 50:
        send({"message_id": b"m%d" % got, "v": 3, "response_to": b"s"}, "_zpc_more", [100 - credit])
        credit = 100
assert got == 1000
send({"message_id": b"h", "v": 3}, "hang", [])
start = time.time()
for _ in range(2):
    h, n, a = recv()
    assert (h["response_to"], n) == (b"h", "_zpc_hb"), (h, n)
    send({"message_id": b"x", "v": 3, "response_to": b"h"}, "_zpc_hb", [0])
assert time.time() - start > 1.5
send({"message_id": b"z", "v": 3}, "echo", [["é", b"\x00", 1.5, None, {"k": -1}]])
while True:
    h, n, a = recv()
    if n != "_zpc_hb":
        break
assert a == [["é", b"\x00", 1.5, None, {"k": -1}]], a
print("ok")
`

func TestPython(t *testing.T) {
	for _, n := range networks() {
		if n.name != "tcp" && n.name != "ipc" {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			tr, addr := n.make(t)
			at, _ := server(t, tr, addr, rpc.Config{Methods: house(), Heartbeat: 1e9})
			out, err := exec.CommandContext(within(t), "/usr/bin/python3", "-c", foreign, at).CombinedOutput()
			if err != nil || string(out) != "ok\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
