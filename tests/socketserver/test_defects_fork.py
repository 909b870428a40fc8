"""Rows of defects.md that a server with processes meets."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.socketserver.running import (
    GRACE,
    PATIENCE,
    ask,
    connect,
    echo,
    eventually,
    forks,
    in_time,
    is_answered,
    is_there,
    make,
    mended,
    ours,
    patience,
    read_all,
    serving,
)

pytestmark = forks


def until_told(request, client_address, server):
    """Say this process's number, then stay until the client says or hangs up."""
    request.sendall(b"%d\n" % os.getpid())
    request.recv(1)


def child_of(client):
    """Return the process that serves `client`."""
    return int(client.recv(16))


@mended("C17")
def test_at_max_children_the_loop_still_turns(impl):
    """C17: with all children busy shutdown() still returns at once; nothing waits for a child in the loop."""
    server = make(impl, "ForkingTCPServer", until_told, max_children=1)
    with serving(server):
        with connect(server) as client:
            child_of(client)
            returned = in_time(server.shutdown, patience(server))
        assert returned


def test_at_max_children_a_client_waits_for_its_turn():
    """C17: beyond `max_children` clients wait in the kernel's queue, and are served when a child ends."""
    server = make(ours, "ForkingTCPServer", until_told, max_children=2)
    with serving(server, poll_interval=600):
        clients = [connect(server) for _ in range(4)]
        for number, client in enumerate(clients):
            child_of(client)
            if number == 1:
                clients[2].settimeout(GRACE)
                with pytest.raises(TimeoutError):
                    clients[2].recv(1)
                clients[2].settimeout(PATIENCE)
                assert len(server.active_children) == 2
                clients[0].close()
                clients[1].close()
        for client in clients:
            client.close()


@mended("C18")
def test_the_exit_status_of_another_child_is_not_stolen(impl):
    """C18: a server waits for its own children only; a program's subprocess keeps its exit status."""
    server = make(impl, "ForkingTCPServer", until_told, max_children=1)
    with serving(server):
        with connect(server) as client:
            child_of(client)
            with subprocess.Popen([sys.executable, "-Sc", "raise SystemExit(7)"]) as other:
                is_stolen = eventually(lambda: not is_there(other.pid), GRACE * 2)
            client.sendall(b"x")
            assert read_all(client) == b""
        assert not is_stolen
        assert other.returncode == 7


@mended("C19")
def test_a_child_that_ended_is_reaped_without_another_event(impl):
    """C19: no zombie waits for the next client or the next interval."""
    server = make(impl, "ForkingTCPServer", until_told)
    with serving(server, poll_interval=1.5):
        with connect(server) as client:
            pid = child_of(client)
        assert eventually(lambda: not is_there(pid), patience(server))


@mended("C20")
def test_a_child_does_not_hold_the_port(impl):
    """C20: when the server is closed its port refuses, though a child still serves."""
    server = make(impl, "ForkingTCPServer", until_told, block_on_close=False)
    with serving(server):
        with connect(server) as client:
            child_of(client)
            server.shutdown()
            server.server_close()
            try:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(server.server_address).close()
            finally:
                client.sendall(b"x")
                assert read_all(client) == b""
        server.block_on_close = True  # no zombies left to other tests


PRINTER = """
import importlib, logging, logging.handlers, socket, sys
module = importlib.import_module(sys.argv[1])
class Kept(logging.handlers.MemoryHandler):
    def __init__(self): super().__init__(100, target=logging.StreamHandler(sys.stdout))
logging.getLogger().addHandler(Kept())
def talk(request, client_address, server):
    print("from the child")
    logging.getLogger().warning("and its log")
server = module.ForkingTCPServer(("127.0.0.1", 0), talk)
print("from the parent")
client = socket.create_connection(server.server_address)
client.shutdown(socket.SHUT_WR)
server.handle_request()
client.close()
server.server_close()
"""


@mended("C21")
def test_what_a_handler_prints_and_logs_comes_out_once(impl):
    """C21: a child writes out its standard streams and its log before it ends, and nobody writes a line twice."""
    done = subprocess.run(
        [sys.executable, "-c", PRINTER, impl.__name__], capture_output=True, text=True, timeout=PATIENCE * 2
    )
    assert sorted(done.stdout.splitlines()) == ["and its log", "from the child", "from the parent"], done.stderr


@mended("C23")
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_client_for_whom_there_is_no_process_waits_for_one(impl, number, monkeypatch):
    """C23: when fork() fails the client is kept and served after a pause."""
    tries, fork = [], os.fork

    def scarce():
        tries.append(1)
        if len(tries) <= 2:
            raise OSError(number, os.strerror(number))
        return fork()

    monkeypatch.setattr(os, "fork", scarce)
    server = make(impl, "ForkingTCPServer", echo)
    with serving(server):
        assert ask(server, b"here") == b"here"
    assert len(tries) == 3


@mended("C48", fixed=sys.version_info >= (3, 12))
@pytest.mark.parametrize("name", ["ForkingUnixStreamServer", "ForkingUnixDatagramServer"])
def test_unix_sockets_go_with_forking(impl, name):
    """C48: every family goes with every model, on every Python."""
    assert issubclass(getattr(impl, name), impl.ForkingMixIn)


# --- ours alone: what a mend of the rows above could break again


def test_a_child_without_a_pidfd_is_reaped_all_the_same(monkeypatch):
    """C19: where the kernel gives no pidfd (no descriptor left, an old kernel), the child is still found."""

    def none_left(pid):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", none_left)
    server = make(ours, "ForkingTCPServer", until_told)
    with serving(server, poll_interval=600):
        with connect(server) as client:
            pid = child_of(client)
        assert eventually(lambda: not is_there(pid))
        assert eventually(lambda: not server.active_children)


def test_children_of_a_loop_that_ended_are_reaped_by_the_next():
    """C19: serve_forever() again after shutdown() knows the children of before, and counts them."""
    server = make(ours, "ForkingTCPServer", until_told, max_children=1)
    with connect(server) as first, connect(server) as second, serving(server, poll_interval=600) as run:
        pid = child_of(first)
        server.shutdown()
        assert run.has_ended()
        again = threading.Thread(target=server.serve_forever, args=(600,))
        again.start()
        second.settimeout(GRACE)
        with pytest.raises(TimeoutError):
            second.recv(1)
        second.settimeout(PATIENCE)
        first.close()
        assert child_of(second) != pid
        assert not is_there(pid)
        second.close()
        server.shutdown()
        again.join(PATIENCE)
        assert not again.is_alive()


def test_no_child_returns_into_the_loop_whatever_its_logging_does():
    """C21: a log handler that raises at the end of a child does not make it a second server."""
    import logging

    class Broken(logging.Handler):
        def flush(self):
            raise LookupError("a log handler that fails")

    broken = Broken()
    server = make(ours, "ForkingTCPServer", until_told)
    try:
        with serving(server):
            with connect(server) as client:
                pid = child_of(client)
            assert eventually(lambda: not is_there(pid))
    finally:
        logging._removeHandlerRef(logging._handlerList[-1])
        del broken


def test_a_forking_server_serves_many_and_leaves_nobody():
    """C19: after a hundred clients there is no child, no zombie and no descriptor more."""
    server = make(ours, "ForkingTCPServer", echo, max_children=5)
    with serving(server):
        assert is_answered(server)
        assert eventually(lambda: not server.active_children)
        fds = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            assert is_answered(server)
        assert eventually(lambda: not server.active_children)
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= fds)
