"""A ZeroRPC peer on nothing but libzmq and msgpack, for the tests beside it.

    peer.py client ADDR CASE     calls a server, prints ok
    peer.py server ADDR          prints the address bound, serves until its standard input ends
"""
import itertools
import select
import sys
import time
import uuid

import msgpack
import zmq

HEARTBEAT = 5.0
SLOTS = 100


def pack(header, name, args):
    return msgpack.packb([header, name, args], use_bin_type=True)


def unpack(blob):
    header, name, args = msgpack.unpackb(blob, raw=False)
    return header, name, args


BASE = uuid.uuid4().hex[8:]
COUNTER = itertools.count(1)


def new_id():
    return ("%08x%s" % (next(COUNTER), BASE)).encode()


def make_socket(kind):
    socket = zmq.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    # libzmq's own PINGs: a peer that does not answer them is cut.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 200)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2000)
    return socket


class Remote(Exception):
    """An ERR event."""


class Call:
    """The calling end of one channel."""

    def __init__(self, socket, method, args, passive=False, id=None):
        self.socket = socket
        self.id = id or new_id()
        self.credit, self.taken = 1, 0
        self.passive = passive
        self.due, self.seen = time.time() + HEARTBEAT, None
        self.beats = 0
        self.socket.send_multipart([b"", pack({"message_id": self.id, "v": 3}, method, args)])

    def emit(self, name, args):
        header = {"message_id": new_id(), "v": 3, "response_to": self.id}
        self.socket.send_multipart([b"", pack(header, name, args)])

    def tick(self):
        now = time.time()
        if now < self.due:
            return
        self.due = now + HEARTBEAT
        if self.seen is None:
            self.seen = now
        if now > self.seen + 2 * HEARTBEAT:
            raise TimeoutError("lost remote")
        if not self.passive:
            self.emit("_zpc_hb", [0])

    def recv(self, limit=60):
        """The next event that is no heartbeat."""
        if self.taken and self.credit < SLOTS // 2:
            self.emit("_zpc_more", [SLOTS - self.credit])
            self.credit = SLOTS
        until = time.time() + limit
        while time.time() < until:
            self.tick()
            if not self.socket.poll(100):
                continue
            empty, blob = self.socket.recv_multipart()
            header, name, args = unpack(blob)
            assert empty == b"" and header["v"] == 3, (empty, header)
            assert header.get("response_to") == self.id, (header, name)
            self.seen = time.time()
            if name == "_zpc_hb":
                self.beats += 1
                self.passive = False  # it waited for the first one
                continue
            self.credit -= 1
            self.taken += 1
            assert self.credit >= 0, "the server sends more than it may"
            return name, args
        raise TimeoutError("no answer within %d s" % limit)

    def result(self):
        name, args = self.recv()
        if name == "ERR":
            raise Remote(*args)
        assert name == "OK" and len(args) == 1, (name, args)
        return args[0]

    def items(self):
        while True:
            name, args = self.recv()
            if name == "STREAM_DONE":
                assert args is None, args
                return
            if name == "ERR":
                raise Remote(*args)
            assert name == "STREAM", name
            yield args


# The cases of the client.

def case_call(socket):
    assert Call(socket, "add", [1, 2]).result() == 3
    values = ["é", b"\x00", 1.5, None, {"k": -1}]
    assert Call(socket, "echo", [values]).result() == values


def case_error(socket):
    for method, args, want in (("fail", ["so"], ("RemoteError", "so", None)),
                               ("nothing", [], ("NameError", "there is no method nothing", None))):
        try:
            Call(socket, method, args).result()
        except Remote as e:
            assert e.args == want, e.args
        else:
            raise AssertionError("no error")


def case_stream(socket):
    assert list(Call(socket, "count", [10000]).items()) == list(range(10000))


def case_sleep(socket):
    began = time.time()
    call = Call(socket, "sleep", [30], passive=True)
    assert call.result() == 30
    assert time.time() - began > 29.9 and call.beats >= 5, call.beats


def case_hang(socket):
    Call(socket, "hang", [])
    sys.stdin.read()  # connected, and silent


def case_endless(socket):
    items = Call(socket, "endless", []).items()
    for n in range(10):
        assert next(items) == n
    sys.stdin.read()


def case_ids(socket):
    for id in (b"\xff" * 16, "text", str(uuid.uuid4()), b"0" * 32):
        assert Call(socket, "add", [1, 2], id=id).result() == 3
    about = Call(socket, "_zerorpc_inspect", []).result()
    assert about["methods"]["add"]["args"] == [{"name": "a"}, {"name": "b"}], about
    assert Call(socket, "_zerorpc_ping", []).result() == ["pong", "house"]


# The server.

class Sleep(float):
    """What a method yields to be woken so much later; the rest are items."""


class Lost(Exception):
    """Thrown into a method whose caller went silent."""


class Service:
    def __init__(self):
        self.gone = 0

    def add(self, a, b):
        return a + b
        yield

    def echo(self, value):
        return value
        yield

    def fail(self, how):
        raise ValueError(how)
        yield

    def sleep(self, seconds):
        yield Sleep(seconds)
        return seconds

    def block(self, seconds):
        time.sleep(seconds)
        return seconds
        yield

    def count(self, n):
        yield from range(n)

    def endless(self):
        try:
            yield from itertools.count()
        except Lost:
            self.gone += 1

    def hang(self):
        try:
            while True:
                yield Sleep(3600)
        except Lost:
            self.gone += 1

    def lost(self):
        return self.gone
        yield


STREAMS = ("count", "endless")


class Served:
    """The serving end of one channel."""

    def __init__(self, socket, envelope, header, name, args, service):
        self.socket, self.envelope, self.id = socket, envelope, header["message_id"]
        self.stream = name in STREAMS
        self.credit = 1
        now = time.time()
        self.due, self.seen = now + HEARTBEAT, None
        self.wake, self.item, self.done = now, None, None
        method = None if name.startswith("_") else getattr(service, name, None)
        if method is None:
            self.run, self.done = None, ("ERR", ["NameError", name, "no traceback"])
        else:
            self.run = method(*args)

    def emit(self, name, args):
        header = {"message_id": new_id(), "v": 3, "response_to": self.id}
        self.socket.send_multipart(self.envelope + [pack(header, name, args)])

    def arrive(self, name, args):
        self.seen = time.time()
        if name == "_zpc_more":
            self.credit += args[0]

    def step(self):
        """Goes on as far as it can; False when the channel is over."""
        now = time.time()
        if now >= self.due:
            self.due = now + HEARTBEAT
            if self.seen is None:
                self.seen = now
            if now > self.seen + 2 * HEARTBEAT:
                try:
                    self.run.throw(Lost())
                except (StopIteration, Lost):
                    pass
                return False
            self.emit("_zpc_hb", [0])
        while self.credit > 0 and (self.done or self.item is not None or now >= self.wake):
            if self.done:
                self.emit(*self.done)
                return False
            if self.item is not None:
                self.emit("STREAM", self.item)
                self.item, self.credit = None, self.credit - 1
            self.advance(now)
        return True

    def advance(self, now):
        try:
            got = next(self.run)
            if isinstance(got, Sleep):
                self.wake = now + got
            else:
                self.item = got
        except StopIteration as end:
            self.done = ("STREAM_DONE", None) if self.stream else ("OK", [end.value])
        except Exception as e:
            self.done = ("ERR", [type(e).__name__, str(e), "no traceback"])


def serve(addr):
    socket = make_socket(zmq.ROUTER)
    socket.bind(addr)
    print(socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode(), flush=True)
    service, channels = Service(), {}
    while not select.select([sys.stdin], [], [], 0)[0]:
        timeout = 20
        while socket.poll(timeout):
            timeout = 0
            *envelope, blob = socket.recv_multipart()
            header, name, args = unpack(blob)
            if "response_to" not in header:
                channels[header["message_id"]] = Served(socket, envelope, header, name, args, service)
            elif header["response_to"] in channels:
                channels[header["response_to"]].arrive(name, args)
        for id, channel in list(channels.items()):
            if not channel.step():
                del channels[id]


def main(role, addr, case=None):
    if role == "server":
        serve(addr)
        return
    socket = make_socket(zmq.DEALER)
    socket.connect(addr)
    globals()["case_" + case](socket)
    print("ok", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
