"""Rows of defects.md that the loop meets: taking requests, outliving what they do, and coming to an end."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from time import monotonic

import pytest

from srvctl.runtime.loop import Loop
from srvctl.socketserver import lingering_close
from tests.socketserver.running import (
    GRACE,
    PATIENCE,
    ask,
    connect,
    echo,
    eventually,
    in_time,
    is_answered,
    make,
    mended,
    ours,
    patience,
    read_all,
    serving,
)


def let_go(server):
    """Set what the standard library's shutdown() waits for, so that a test that provoked a deadlock can end it."""
    ended = getattr(server, "_BaseServer__is_shut_down", None)
    if ended:
        ended.set()


@mended("C1")
def test_a_server_without_descriptors_pauses_before_it_tries_again(impl):
    """C1: EMFILE at accept is tried again after a pause, not at once for ever."""
    tries, third = [], threading.Event()

    def get_request(server):
        tries.append(monotonic())
        if len(tries) >= 3:
            third.set()
        if len(tries) <= 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return impl.TCPServer.get_request(server)

    server = make(impl, "TCPServer", echo, get_request=get_request)
    with serving(server), connect(server) as client:
        assert third.wait(PATIENCE)
        client.sendall(b"still here")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"still here"
    gaps = [after - before for before, after in itertools.pairwise(tries)][:2]
    assert min(gaps) > 0.05


@mended("C1")
def test_a_server_without_descriptors_says_so_once(impl, capsys):
    """C1: running out of descriptors is one line, not none and not one for each try."""
    tries, done = [], threading.Event()

    def get_request(server):
        tries.append(1)
        if len(tries) > 3:
            done.set()
            return impl.TCPServer.get_request(server)
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    server = make(impl, "TCPServer", echo, get_request=get_request)
    with serving(server):
        assert is_answered(server)
    assert capsys.readouterr().err.count("cannot take a request") == 1


@mended("C2")
def test_a_rule_that_raises_refuses_that_client_and_no_more(impl):
    """C2: verify_request() may raise; the client is refused and the next one is served."""
    calls = []

    def verify_request(server, request, client_address):
        calls.append(request)
        if len(calls) == 1:
            raise ValueError("a rule that fails")
        return True

    server = make(impl, "TCPServer", echo, verify_request=verify_request)
    with serving(server) as run:
        assert ask(server, b"", patience(server)) == b"", "a client that was not verified is served"
        assert run.is_serving()
        assert is_answered(server)
        assert calls[0].fileno() < 0
    assert run.error is None


@mended("C3")
def test_a_get_request_that_raises_anything_does_not_end_the_loop(impl):
    """C3: what get_request() raises that is not an OSError is outlived as well."""
    calls = []

    def get_request(server):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("an overridden get_request that fails")
        return impl.TCPServer.get_request(server)

    server = make(impl, "TCPServer", echo, get_request=get_request)
    with serving(server) as run:
        assert is_answered(server)
    assert run.error is None


@mended("C4")
def test_shutdown_before_serve_forever_returns(impl):
    """C4: shutdown() of a server that does not serve yet returns, and serve_forever() then does so at once."""
    server = make(impl, "TCPServer", echo)
    try:
        returned = in_time(server.shutdown, patience(server))
        assert in_time(server.serve_forever, PATIENCE)
        assert returned
    finally:
        server.server_close()


@mended("C5")
def test_a_handler_can_shut_its_server_down(impl):
    """C5: shutdown() from the serving thread ends the loop instead of waiting for itself."""

    def quit_(request, client_address, server):
        server.shutdown()
        request.sendall(b"bye")

    server = make(impl, "TCPServer", quit_)
    with serving(server) as run:
        with connect(server) as client:
            answered = bool(select.select([client], [], [], patience(server))[0])
            let_go(server)
            assert read_all(client) == b"bye"
        assert run.has_ended()
        assert answered


SIGNALLED = """
import importlib, os, signal, sys, threading
module = importlib.import_module(sys.argv[1])
server = module.TCPServer(("127.0.0.1", 0), module.BaseRequestHandler)
signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
class Told(type(server)):
    def service_actions(self):
        os.kill(os.getpid(), signal.SIGTERM)
server.__class__ = Told
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))  # a deadlock dies of this
server.serve_forever(0.01)
server.server_close()
"""


@mended("C5")
def test_a_signal_handler_can_shut_the_server_down(impl):
    """C5: shutdown() from a signal handler in the serving thread ends the loop."""
    program = [sys.executable, "-c", SIGNALLED, impl.__name__, "10" if impl is ours else "0.5"]
    assert subprocess.run(program, timeout=PATIENCE * 2, check=False).returncode == 0


@mended("C6")
def test_shutdown_does_not_wait_for_the_poll_interval(impl, monkeypatch):
    """C6: shutdown() ends the wait; it does not sit it out."""
    waits = threading.Event()
    where, how = (Loop, "turn") if impl is ours else (impl._ServerSelector, "select")
    wait = getattr(where, how)
    monkeypatch.setattr(where, how, lambda *args: (waits.set(), wait(*args))[1])
    server = make(impl, "TCPServer", echo)
    with serving(server, poll_interval=600) as run:
        assert waits.wait(PATIENCE)
        returned = in_time(server.shutdown, patience(server))
        if not returned:
            connect(server).close()  # wakes the one that polls
        assert run.has_ended()
        assert returned


def test_no_request_is_taken_after_shutdown():
    """C7: a client that is in the queue when shutdown() is called stays there."""
    served = []

    def count(request, client_address, server):
        served.append(client_address)
        server.shutdown()

    server = make(ours, "TCPServer", count)
    with connect(server), connect(server):
        server.serve_forever()
        assert len(served) == 1
    server.server_close()


def test_a_listening_descriptor_beyond_1024_is_waited_for():
    """C8: descriptor numbers that do not fit into select(2) do."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1500:
        pytest.skip("no more than 1024 descriptors are allowed here")
    low = socket.create_server(("127.0.0.1", 0))
    high = socket.socket(fileno=os.dup2(low.fileno(), 1400, inheritable=False))
    low.close()
    server = ours.TCPServer(high.getsockname(), echo, sock=high)
    with serving(server):
        assert server.fileno() == 1400
        assert is_answered(server)


@mended("C9")
def test_stop_ends_the_loop_and_closes(impl):
    """C9: one call stops a server: its loop has returned and its port is free."""
    server = make(impl, "TCPServer", echo)
    with serving(server) as run:
        assert is_answered(server)
        server.stop()
        assert run.has_ended()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.server_address)


@mended("C10")
def test_closing_a_server_that_serves_ends_its_loop(impl):
    """C10: server_close() while the loop waits ends it; nobody waits for a number that is another socket's by then."""
    server = make(impl, "TCPServer", echo)
    with serving(server) as run:
        assert is_answered(server)
        server.server_close()
        assert run.has_ended(patience(server))
        assert run.error is None


def test_a_connection_that_outlives_the_close_of_its_server_is_closed(monkeypatch):
    """C10: server_close() while a handler runs in the loop; what that leaves behind has an owner still."""
    monkeypatch.setattr(lingering_close, "LINGER_SECONDS", 0.1)  # the client does not close
    go, requests = threading.Event(), []

    def slow(request, client_address, server):
        requests.append(request)
        go.wait(PATIENCE)
        request.sendall(b"late")

    server = make(ours, "TCPServer", slow)
    with serving(server) as run, connect(server) as client:
        assert eventually(lambda: requests)
        server.server_close()
        go.set()
        assert run.has_ended()
        assert read_all(client) == b"late"
        assert requests[0].fileno() == -1


@mended("C24")
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_a_handler_that_exits_ends_its_own_connection(impl, error):
    """C24: sys.exit() in a handler is the end of that conversation, whatever the model; of the server, never."""
    conversations = []

    def leave_once(request, client_address, server):
        conversations.append(1)
        if len(conversations) == 1:
            raise error
        echo(request, client_address, server)

    server = make(impl, "TCPServer", leave_once)
    with serving(server) as run:
        assert ask(server, b"", patience(server)) == b""
        assert is_answered(server)
    assert run.error is None


@mended("C37")
def test_a_connection_that_a_sibling_took_does_not_block_the_loop(impl):
    """C37: readable does not mean that accept() has something; the loop goes on when it has not."""
    stolen, is_stolen = [], threading.Event()

    def get_request(server):
        if not stolen:
            stolen.append(server.socket.accept()[0])
            is_stolen.set()
        return impl.TCPServer.get_request(server)

    server = make(impl, "TCPServer", echo, get_request=get_request)
    with serving(server), connect(server):
        assert is_stolen.wait(PATIENCE)
        returned = in_time(server.shutdown, patience(server))
        if not returned:
            connect(server).close()  # what accept() blocks for
        stolen[0].close()
    assert returned


@mended("C42")
def test_a_burst_of_clients_fits_the_queue(impl, tmp_path):
    """C42: fifty clients at once all find room; the kernel's limit is the only one."""
    server = make(impl, "UnixStreamServer", echo, tmp_path)
    clients = []
    try:
        for _ in range(50):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            clients.append(client)
            client.setblocking(False)
            client.connect(server.server_address)  # BlockingIOError when the queue is full, connect(2)
    finally:
        for client in clients:
            client.close()
        server.server_close()


@mended("C46")
def test_serve_forever_calls_handle_timeout(impl):
    """C46: a server that overrides handle_timeout() and sets `timeout` is told, by serve_forever() too."""
    told = threading.Event()
    server = make(impl, "TCPServer", echo, timeout=0.01, handle_timeout=lambda server: told.set())
    with serving(server):
        assert told.wait(patience(server))


def test_ctrl_c_ends_the_loop():
    """C25: a person's Ctrl-C is not a handler's exception; it goes to the caller of serve_forever()."""

    def interrupted(request, client_address, server):
        signal.raise_signal(signal.SIGINT)

    server = make(ours, "TCPServer", interrupted)
    try:
        with connect(server), pytest.raises(KeyboardInterrupt):
            server.serve_forever()
    finally:
        server.server_close()


def test_nothing_happens_when_nothing_happens():
    """C6: a server that waits makes no turn of its loop until it is asked to."""
    turns = []
    turn = Loop.turn

    def counted(loop, timeout):
        turns.append(timeout)
        turn(loop, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "turn", counted)
        server = make(ours, "TCPServer", echo)
        with serving(server, poll_interval=0.001) as run:
            assert not run.has_ended(GRACE)
            assert turns == [-1.0], "it has waited without a limit, once"
