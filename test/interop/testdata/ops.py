"""What an operator's script does at the sockets of real daemons, on nothing but
libzmq and msgpack.

    ops.py AGENT_SOCKET BROADCASTER_SOCKET OWNER/APP/SERVICE/N KEY
    ops.py refused SOCKET...      as a user who may not
"""
import socket as plain
import sys

import zmq

from peer import Call, Remote, make_socket


def dial(path):
    socket = make_socket(zmq.DEALER)
    socket.connect("ipc://" + path)
    return socket


def on_node(path, replica, key):
    node = dial(path)
    about = Call(node, "_zerorpc_inspect", []).result()
    assert about["methods"]["exec"]["args"] == [{"name": "command"}], about["methods"]["exec"]
    assert "Run a command" in about["methods"]["exec"]["doc"]
    listed = [c for c in Call(node, "container_list", []).result() if c["id"].startswith(replica + ".")]
    assert len(listed) == 1 and listed[0]["state"] == "running", listed
    run = {"container": replica, "argv": ["/hello"], "env": ["PORT=0"], "timeout": 500, "key": key}
    first = Call(node, "exec", [run]).result()
    assert first["timed_out"] and "listening on" in first["stdout"], first
    assert Call(node, "exec", [run]).result() == first  # another run has another port
    try:
        Call(node, "exec", [dict(run, argv=["/other"])]).result()
    except Remote as e:
        assert e.args[0] == "KeyConflict", e.args
    else:
        raise AssertionError("a key was used for two things")
    logs = list(Call(node, "container_logs", [replica]).items())
    assert any("listening on" in item["data"] for item in logs), logs


def on_broadcaster(path, replica, key):
    caster = dial(path)
    about = Call(caster, "_zerorpc_inspect", []).result()
    assert about["methods"]["submit"]["doc"], about["methods"]["submit"]
    owner, app, service, _ = replica.split("/")
    run = {"owner": owner, "app": app, "service": service, "argv": ["/hello"], "env": ["PORT=none"], "key": key}
    done = Call(caster, "exec", [run]).result()
    assert [(r["replica"], r["exit_code"]) for r in done] == [(replica, 1)] and "none" in done[0]["stderr"], done
    assert Call(caster, "exec", [run]).result() == done
    items = Call(caster, "call_stream", [done[0]["node"], "container_logs", [replica]]).items()
    assert any("listening on" in item["data"] for item in items)


def refused(paths):
    for path in paths:
        with plain.socket(plain.AF_UNIX) as s:
            try:
                s.connect(path)
            except PermissionError:
                continue
        raise AssertionError(path + " let this user in")


if __name__ == "__main__":
    if sys.argv[1] == "refused":
        refused(sys.argv[2:])
    else:
        agent, caster, replica, key = sys.argv[1:]
        on_node(agent, replica, key)
        on_broadcaster(caster, replica, key)
    print("ok")
