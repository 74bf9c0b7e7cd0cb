"""The same as peer.py on the real zerorpc package."""
import itertools
import sys
import time

import gevent
import gevent.os
import zerorpc
import zmq


def silent():
    """Lets the others run until standard input ends."""
    while gevent.os.tp_read(0, 1):
        pass


def case_call(c):
    assert c.add(1, 2) == 3
    values = ["é", b"\x00", 1.5, None, {"k": -1}]
    assert c.echo(values) == values


def case_error(c):
    for method, args, want in (("fail", ["so"], ("RemoteError", "so")),
                               ("nothing", [], ("NameError", "there is no method nothing"))):
        try:
            c(method, *args)
        except zerorpc.RemoteError as e:
            assert (e.name, e.msg) == want and e.traceback is None, e
        else:
            raise AssertionError("no error")


def case_stream(c):
    assert list(c.count(10000)) == list(range(10000))


def case_sleep(c):
    assert c.sleep(30, timeout=60) == 30


def case_hang(c):
    try:
        c.hang(timeout=0.5)
    except zerorpc.TimeoutExpired:
        pass
    silent()


def case_endless(c):
    items = iter(c.endless())
    for n in range(10):
        assert next(items) == n
    items.close()
    # zerorpc closes a channel only when its stream ends; this one is let go.
    del items
    for channel in list(c._multiplexer.active_channels.values()):
        channel.close()
    c._multiplexer._active_channels.clear()
    silent()


def case_ids(c):
    assert c._zerorpc_inspect()["methods"]["add"]["args"] == [{"name": "a"}, {"name": "b"}]
    assert c._zerorpc_ping() == ["pong", "house"]


class Service:
    def __init__(self):
        self._gone = 0

    def add(self, a, b):
        return a + b

    def echo(self, value):
        return value

    def fail(self, how):
        raise ValueError(how)

    def sleep(self, seconds):
        gevent.sleep(seconds)
        return seconds

    def block(self, seconds):
        time.sleep(seconds)
        return seconds

    @zerorpc.stream
    def count(self, n):
        return iter(range(n))

    @zerorpc.stream
    def endless(self):
        try:
            for n in itertools.count():
                yield n
        except (zerorpc.LostRemote, GeneratorExit):
            self._gone += 1
            raise

    def hang(self):
        try:
            gevent.sleep(3600)
        except zerorpc.LostRemote:
            self._gone += 1
            raise

    def lost(self):
        return self._gone


def main(role, addr, case=None):
    if role == "server":
        s = zerorpc.Server(Service(), name="house")
        s.bind(addr)
        print(s._events._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode(), flush=True)
        gevent.spawn(s.run)
        silent()
        return
    c = zerorpc.Client(passive_heartbeat=case == "sleep")
    c.connect(addr)
    globals()["case_" + case](c)
    print("ok", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
