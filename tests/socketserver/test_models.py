"""What each family promises with each model."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import resource
import select
import socket
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srvctl.runtime.loop import Loop
from tests.socketserver.running import (
    GRACE,
    PATIENCE,
    ask,
    connect,
    datagram_client,
    echo,
    echo_datagram,
    eventually,
    forks,
    has_only,
    in_time,
    is_answered,
    make,
    open_fds,
    ours,
    read_all,
    serving,
)

pytestmark = forks

MODELS = ("", "Threading", "Forking")
STREAMS = [model + family for family in ("TCPServer", "UnixStreamServer") for model in MODELS]
DATAGRAMS = [model + family for family in ("UDPServer", "UnixDatagramServer") for model in MODELS]
SIOCATMARK = 0x8905  # asm-generic/sockios.h


@pytest.mark.parametrize("name", STREAMS)
def test_a_connection_is_served(name, tmp_path):
    """Every stream family echoes with every model, one client after another, and leaves no descriptor open."""
    before = open_fds()
    with serving(make(ours, name, echo, tmp_path)) as run:
        for _ in range(3):
            assert is_answered(run.server)
        assert ask(run.server, b"x" * 300_000) == b"x" * 300_000
    assert has_only(before)


@pytest.mark.parametrize("name", DATAGRAMS)
def test_a_datagram_is_served(name, tmp_path):
    """Every datagram family echoes with every model, and leaves no descriptor open."""
    before = open_fds()
    server = make(ours, name, echo_datagram, tmp_path)
    path = tmp_path / "c" if "Unix" in name else None
    with serving(server), datagram_client(server, path) as client:
        for number in range(3):
            client.send(b"%d" % number)
            assert client.recv(100) == b"%d" % number
    assert has_only(before)


def test_sequenced_packets_are_served(tmp_path):
    """A stream server of another type is a subclass of one line."""
    server = make(ours, "UnixStreamServer", echo, tmp_path, socket_type=socket.SOCK_SEQPACKET)
    with serving(server), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(PATIENCE)
        client.connect(server.server_address)
        client.send(b"one")
        assert client.recv(100) == b"one"
        client.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("name", STREAMS)
def test_a_handler_that_forks_for_itself(name, tmp_path):
    """A handler may fork and finish its request in its own child; the server does not mind."""

    def fork_and_answer(request, client_address, server):
        pid = os.fork()
        if pid == 0:
            try:
                request.sendall(request.recv(100).upper())
                request.shutdown(socket.SHUT_WR)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    with serving(make(ours, name, fork_and_answer, tmp_path)) as run:
        for _ in range(2):
            assert ask(run.server, b"hello") == b"HELLO"


@pytest.mark.parametrize("name", STREAMS)
def test_a_handler_that_leaves_its_request_to_a_child(name, tmp_path):
    """A handler's own child may go on when the handler is done; the client sees the end when the child has ended.

    The parent half-closes the connection, as the original does: what the child wants to say, it says before.
    """
    read, write = os.pipe()

    def fork_and_leave(request, client_address, server):
        pid = os.fork()
        if pid == 0:
            try:
                request.sendall(b"from the child")
                os.write(write, b"x")
                os.read(read, 0)
            finally:
                os._exit(0)
        assert os.read(read, 1) == b"x"
        os.waitpid(pid, 0)

    with serving(make(ours, name, fork_and_leave, tmp_path)) as run:
        assert ask(run.server, b"") == b"from the child"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("model", MODELS)
def test_out_of_band_data_reaches_the_handler(model):
    """MSG_OOB works in a handler, send(2): the connection is a plain socket that nobody has read from."""

    def urgent(request, client_address, server):
        poll = select.poll()
        poll.register(request, select.POLLPRI)
        assert poll.poll(PATIENCE * 1000)
        request.sendall(request.recv(1, socket.MSG_OOB) + request.recv(100))

    with serving(make(ours, f"{model}TCPServer", urgent)) as run, connect(run.server) as client:
        client.sendall(b"abc")
        client.send(b"!", socket.MSG_OOB)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"!abc"


@pytest.mark.parametrize("model", MODELS)
def test_out_of_band_data_in_line_and_its_mark(model):
    """SO_OOBINLINE and SIOCATMARK work in a handler, tcp(7): it reads up to the mark, and knows that it is there."""

    def marked(request, client_address, server):
        request.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        request.sendall(b"?")
        poll = select.poll()
        poll.register(request, select.POLLPRI)
        assert poll.poll(PATIENCE * 1000)
        at_mark = array.array("i", [0])
        before = b""
        while not (fcntl.ioctl(request, SIOCATMARK, at_mark), at_mark[0])[1]:
            before += request.recv(100)  # one recv(2) never goes past the mark
        request.sendall(before + b"|" + request.recv(100))

    with serving(make(ours, f"{model}TCPServer", marked)) as run, connect(run.server) as client:
        assert client.recv(1) == b"?"
        client.sendall(b"abc")
        client.send(b"!", socket.MSG_OOB)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"abc|!"


# --- life


def test_shutdown_in_every_state():
    """shutdown() returns in every state: before, during, after, twice, and when the server is closed."""
    server = make(ours, "TCPServer", echo)
    server.shutdown()
    server.serve_forever()  # returns at once
    with serving(server) as run:
        assert is_answered(server)
        assert in_time(lambda: (server.shutdown(), server.shutdown()), PATIENCE)
        assert run.has_ended()
        server.serve_forever()  # the second shutdown() was for this one, as in the original
        server.server_close()
        assert in_time(server.shutdown, PATIENCE)
        server.server_close()
        assert in_time(server.serve_forever, PATIENCE)


@pytest.mark.parametrize("name", STREAMS)
def test_a_server_serves_again_after_shutdown(name, tmp_path):
    """serve_forever() works any number of times until the server is closed."""
    server = make(ours, name, echo, tmp_path)
    for _ in range(3):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert is_answered(server)
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    server.server_close()


@pytest.mark.parametrize("name", STREAMS)
def test_stop_ends_and_closes(name, tmp_path):
    """stop() returns when the loop has, the requests have, and the address is free."""
    server = make(ours, name, echo, tmp_path)
    with serving(server) as run:
        assert is_answered(server)
        server.stop()
        assert run.has_ended()
        assert server.socket.fileno() == -1
        with pytest.raises(OSError, match=r"refused|No such file"):
            connect(server)


def test_stop_from_a_handlers_thread():
    """stop() in a handler of a threading server does not wait for the handler itself."""
    stopped = threading.Event()

    def stop(request, client_address, server):
        server.stop()
        stopped.set()

    with serving(make(ours, "ThreadingTCPServer", stop)) as run:
        with connect(run.server):
            assert stopped.wait(PATIENCE)
        assert run.has_ended()


def test_draining_tells_a_handler_that_the_server_was_asked_to_stop():
    """`draining` is false while it serves, and true for those that run while it closes."""
    seen, entered, go = [], threading.Event(), threading.Event()

    def watch(request, client_address, server):
        seen.append(server.draining)
        entered.set()
        assert eventually(lambda: server.draining)
        go.set()

    server = make(ours, "ThreadingTCPServer", watch)
    assert not server.draining
    with serving(server):
        with connect(server):
            assert entered.wait(PATIENCE)
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            assert go.wait(PATIENCE)
        stopping.join(PATIENCE)
        assert seen == [False]
        assert server.draining


def test_handle_request_waits_for_its_timeout():
    """handle_request() without a client calls handle_timeout(), and with one serves it."""
    told = []
    server = make(ours, "TCPServer", echo, timeout=0.01, handle_timeout=lambda server: told.append(1))
    with server:
        server.handle_request()
        assert told == [1]
        with connect(server) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server.timeout = PATIENCE
            server.handle_request()
            assert read_all(client) == b"hello"
    assert told == [1]


def test_handle_timeout_comes_after_idle_time_only():
    """In serve_forever() each request begins the time anew, and one timer is all that it takes."""
    told = threading.Event()
    server = make(ours, "TCPServer", echo, timeout=GRACE, handle_timeout=lambda server: told.set())
    with serving(server) as run:
        for _ in range(50):
            assert is_answered(server)
        timers = len(server._loop.timers)
        assert timers < 10
        assert told.wait(PATIENCE)
    assert run.error is None


def test_service_actions_of_a_program_are_called_every_poll_interval():
    """A service_actions() that a program overrode is called without any request."""
    calls, third = [], threading.Event()

    def service_actions(server):
        calls.append(1)
        if len(calls) == 3:
            third.set()

    with serving(make(ours, "TCPServer", echo, service_actions=service_actions), poll_interval=0.01):
        assert third.wait(PATIENCE)


@pytest.mark.parametrize("name", [*STREAMS, *DATAGRAMS])
def test_an_idle_server_sleeps(name, tmp_path, monkeypatch):
    """Nothing is polled: a server of any kind waits once, without a limit, until something happens."""
    turns, waits = [], threading.Event()
    turn = Loop.turn

    def counted(loop, timeout):
        turns.append(timeout)
        waits.set()
        turn(loop, timeout)

    monkeypatch.setattr(Loop, "turn", counted)
    with serving(make(ours, name, echo, tmp_path), poll_interval=0.001) as run:
        assert waits.wait(PATIENCE)
        assert not run.has_ended(0.05)
        assert turns == [-1.0]


# --- faults


def test_a_request_that_is_not_verified_is_closed():
    """verify_request() false: the client sees the end of its connection, and nothing else."""
    server = make(ours, "TCPServer", echo, verify_request=lambda server, request, address: False)
    with serving(server):
        assert ask(server, b"") == b""


class Unprintable(Exception):
    def __str__(self):
        raise LookupError("no text")

    __repr__ = __str__


def overflow(_):
    return overflow(_)


def fail(error):
    if error is RecursionError:
        overflow(0)
    raise error


ERRORS = [Exception, ValueError, SystemExit, GeneratorExit, MemoryError, RecursionError, Unprintable, OSError(9, "x")]
QUIET_THREADS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@QUIET_THREADS
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(errors=st.lists(st.sampled_from(ERRORS), min_size=1, max_size=4))
def test_nothing_that_a_handler_raises_ends_the_server(model, errors):
    """Promise P3: a handler's exception of any kind ends its own request, leaks nothing, and the next is served."""
    before = open_fds()

    def fail_when_told(request, client_address, server):
        number = request.recv(1)
        if number != b"-":
            fail(errors[number[0]])
        request.sendall(b"served")

    server = make(ours, f"{model}TCPServer", fail_when_told)
    with serving(server) as run:
        for number in range(len(errors)):
            assert ask(server, bytes([number])) == b""
            assert ask(server, b"-") == b"served"
    assert run.error is None
    assert has_only(before)


@QUIET_THREADS
@pytest.mark.parametrize("error", [ValueError, SystemExit, Unprintable])
@pytest.mark.parametrize("hook", ["handle_error", "verify_request", "shutdown_request", "service_actions"])
@pytest.mark.parametrize("model", MODELS)
def test_nothing_that_a_hook_raises_ends_the_server(model, hook, error):
    """Promise P3: a hook that raises, with any exception and in any model, does not end the loop."""
    told = []

    def handler(request, client_address, server):
        if hook == "handle_error":
            raise ValueError("so that it is called")
        echo(request, client_address, server)

    def fail_once(server, *args):
        if not told:
            told.append(1)
            if hook == "shutdown_request":
                args[0].close()
            raise error
        return getattr(ours.TCPServer, hook)(server, *args) if hook != "handle_error" else None

    server = make(ours, f"{model}TCPServer", handler, **{hook: fail_once})
    with serving(server) as run:
        for _ in range(2):
            with connect(server) as client:
                client.sendall(b"x")
        assert run.is_serving()
        if hook == "shutdown_request" and model == "Forking":
            told.append(1)  # a child's list is its own
        assert (ask(server, b"x") == b"x") == (hook != "handle_error")
    assert run.error is None


def test_a_report_to_a_standard_error_that_is_gone_is_no_fault(monkeypatch):
    """handle_error() of ours outlives a standard error that nobody has."""
    monkeypatch.setattr(sys, "stderr", None)
    server = make(ours, "TCPServer", lambda *_: fail(ValueError), handle_error=ours.TCPServer.handle_error)
    with serving(server) as run:
        assert ask(server, b"") == b""
        assert ask(server, b"") == b""
    assert run.error is None


def test_a_client_that_came_while_descriptors_were_out_is_served_when_there_is_one():
    """Promise P1: real exhaustion of descriptors loses no client, and ends when one is free again."""
    failed = threading.Event()
    server = make(ours, "TCPServer", echo, accept_failed=lambda server, *_: failed.set())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(server), socket.socket() as client:
        client.settimeout(PATIENCE)
        assert eventually(lambda: server._loop)  # it has all the descriptors that it needs to wait
        highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    taken.append(os.dup(client.fileno()))
            client.connect(server.server_address)
            assert failed.wait(PATIENCE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in taken:
                os.close(fd)
        client.sendall(b"2")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"2"


@pytest.mark.parametrize("model", ["Threading", "Forking"])
def test_a_request_that_never_got_its_process_or_thread_is_ended_with_the_server(model, monkeypatch):
    """What waits for a process or a thread when the server is closed is ended, not forgotten: the client knows."""
    tried = threading.Event()

    def none(*args):
        tried.set()
        if model == "Threading":
            raise RuntimeError("can't start new thread")
        raise BlockingIOError(errno.EAGAIN, "no more")

    server = make(ours, f"{model}TCPServer", echo)
    with monkeypatch.context() as patch:
        if model == "Threading":
            patch.setattr("srvctl.socketserver.threads._PoolThread.start", none)
        else:
            patch.setattr(os, "fork", none)
        with serving(server) as run, connect(server) as client:
            assert tried.wait(PATIENCE)
            server.shutdown()
            assert run.has_ended()
            assert len(server._pending) == 1
            client.shutdown(socket.SHUT_WR)
            server.server_close()
            assert read_all(client) == b""
            assert not server._pending


@pytest.mark.parametrize("model", ["Threading", "Forking"])
def test_a_request_that_waited_is_served_by_the_next_serve_forever(model, monkeypatch):
    """What waits for a process or a thread at shutdown() is served first when the server serves again."""
    tried = threading.Event()

    def none(*args):
        tried.set()
        if model == "Threading":
            raise RuntimeError("can't start new thread")
        raise BlockingIOError(errno.EAGAIN, "no more")

    server = make(ours, f"{model}TCPServer", echo)
    with connect(server) as client:
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        with monkeypatch.context() as patch:
            if model == "Threading":
                patch.setattr("srvctl.socketserver.threads._PoolThread.start", none)
            else:
                patch.setattr(os, "fork", none)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            assert tried.wait(PATIENCE)
            server.shutdown()
            thread.join(PATIENCE)
        with serving(server, poll_interval=600):
            assert read_all(client) == b"x"


@pytest.mark.parametrize("name", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_a_closed_server_serves_again_on_another_socket(name, tmp_path):
    """The original has no life that ends: some programs put a socket of their own in the place of the first."""
    server = make(ours, name, echo, tmp_path)
    server.server_close()
    server.socket = socket.create_server(("127.0.0.1", 0))
    server.server_address = server.socket.getsockname()
    with serving(server) as run:
        assert is_answered(run.server)
