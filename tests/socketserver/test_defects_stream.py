"""Rows of defects.md about a connection: what is read from it, written to it, and how it is closed."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

from tests.socketserver.running import PATIENCE, connect, make, mended, ours, patience, read_all, serving

REPLY = b"r" * 200_000


@mended("C27")
@pytest.mark.parametrize("name", ["TCPServer", "ThreadingTCPServer"])
def test_input_that_nobody_read_does_not_destroy_the_reply(impl, name):
    """C27: a handler that reads ten of 5,000 bytes, answers and is done: the client gets the whole answer."""
    ended = threading.Event()

    def read_a_little(request, client_address, server):
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(REPLY))
        request.recv(10)
        request.sendall(REPLY)

    def shutdown_request(server, request):
        getattr(impl, name).shutdown_request(server, request)
        ended.set()

    server = make(impl, name, read_a_little, shutdown_request=shutdown_request)
    with serving(server), connect(server) as client:
        client.sendall(b"x" * 5000)
        assert ended.wait(PATIENCE)
        assert len(read_all(client)) == len(REPLY)


@mended("C27")
def test_input_that_comes_after_the_reply_does_not_destroy_it(impl):
    """C27: a client that still sends while it is being answered gets the whole answer."""
    ended = threading.Event()

    def deaf(request, client_address, server):
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(REPLY))
        request.sendall(REPLY)

    def shutdown_request(server, request):
        impl.TCPServer.shutdown_request(server, request)
        ended.set()

    server = make(impl, "TCPServer", deaf, shutdown_request=shutdown_request)
    with serving(server), connect(server) as client:
        assert ended.wait(PATIENCE)
        client.sendall(b"more")
        assert len(read_all(client)) == len(REPLY)


def test_a_client_that_does_not_hang_up_holds_up_nobody():
    """C27: while one connection lingers the next client is served."""
    server = make(ours, "TCPServer", lambda request, client_address, server: request.sendall(b"hello"))
    with serving(server, poll_interval=600), connect(server) as first:
        assert first.recv(5) == b"hello"
        with connect(server) as second:
            assert read_all(second) == b"hello"


def test_a_lingering_connection_is_closed_after_64_kib():
    """C27: what is read and thrown away is bounded; a client that never stops sending is cut."""
    server = make(ours, "TCPServer", lambda request, client_address, server: None)
    with serving(server), connect(server) as client, pytest.raises(ConnectionError):
        while True:
            client.sendall(b"x" * 65536)


def test_a_lingering_connection_that_its_owner_closed_is_no_fault():
    """C27: a program's own shutdown_request() may close what ours lingers for."""

    def shutdown_request(server, request):
        ours.TCPServer.shutdown_request(server, request)
        request.close()

    server = make(ours, "TCPServer", lambda request, *_: request.sendall(b"hello"), shutdown_request=shutdown_request)
    with serving(server) as run:
        for _ in range(3):
            with connect(server) as client:
                assert read_all(client) == b"hello"
    assert run.error is None


def reader(impl, read, then, **attributes):
    """Return a StreamRequestHandler that tells `then` what `read(rfile)` returned or raised, until it is true."""

    def handle(handler):
        while True:
            try:
                result = read(handler.rfile)
            except OSError as error:
                result = error
            if then(result):
                return

    return type("Reader", (impl.StreamRequestHandler,), {"handle": handle, **attributes})


@mended("C29")
def test_rfile_can_be_read_again_after_a_timeout(impl):
    """C29: a read that took too long raises TimeoutError; the next one goes on where it stopped, without a gap."""
    results, timed_out = [], threading.Event()

    def note(result):
        results.append(result)
        if isinstance(result, TimeoutError):
            timed_out.set()
        return not isinstance(result, TimeoutError)

    server = make(impl, "TCPServer", reader(impl, lambda rfile: rfile.readline(), note, timeout=0.05))
    with serving(server), connect(server) as client:
        client.sendall(b"hel")
        assert timed_out.wait(PATIENCE)
        client.sendall(b"lo\n")
        assert read_all(client) == b""
    assert results[-1] == b"hello\n"


@mended("C29")
def test_the_timeout_is_the_deadline_of_a_read(impl):
    """C29: bytes that trickle in do not move the deadline of the read that waits for them."""
    dripping, results = threading.Event(), []

    def note(result):
        results.append(result)
        dripping.set()
        return True

    server = make(impl, "TCPServer", reader(impl, lambda rfile: rfile.readline(), note, timeout=0.2))
    with serving(server), connect(server) as client:
        for _ in range(50):  # a second at most
            client.sendall(b".")
            if dripping.wait(0.02):
                break
        client.sendall(b"\n")
        assert read_all(client) == b""
    assert isinstance(results[0], TimeoutError)


READS = {
    "read": lambda rfile: rfile.read(6),
    "read1": lambda rfile: rfile.read1(6),
    "readline": lambda rfile: rfile.readline(),
    "readinto": lambda rfile: (buffer := bytearray(6), rfile.readinto(buffer))[0],
    "peek": lambda rfile: rfile.peek(6)[:6],
    "iteration": next,
}


@pytest.mark.parametrize("how", READS)
def test_every_way_to_read_has_a_deadline_and_loses_nothing(how):
    """C29: read, read1, readline, readinto, peek and iteration are the same in this."""
    results, timed_out = [], threading.Event()

    def note(result):
        results.append(result)
        if isinstance(result, TimeoutError):
            timed_out.set()
        return not isinstance(result, TimeoutError)

    server = make(ours, "TCPServer", reader(ours, READS[how], note, timeout=0.05))
    with serving(server), connect(server) as client:
        assert timed_out.wait(PATIENCE)
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
    assert bytes(results[-1]) == b"hello\n"


@pytest.mark.parametrize("wbufsize", [0, -1])
def test_wfile_writes_everything(wbufsize):
    """C30: a write is whole, however small the socket's buffer and however slow the reader."""
    sizes = []

    class Big(ours.StreamRequestHandler):
        def setup(self):
            self.wbufsize = wbufsize
            super().setup()

        def handle(self):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            sizes.append(self.wfile.write(memoryview(REPLY)))

    server = make(ours, "TCPServer", Big)
    with serving(server), connect(server) as client:
        assert len(read_all(client)) == len(REPLY)
    assert sizes == [len(REPLY)]


@mended("C47")
def test_finish_runs_also_when_setup_raised(impl):
    """C47: what a setup() that raises has made is closed by finish(), and its own exception is what is reported."""
    events, reported = [], threading.Event()

    class HalfMade(impl.StreamRequestHandler):
        def setup(self):
            super().setup()
            events.append(self.rfile)
            raise LookupError("half made")

        def finish(self):
            super().finish()
            events.append("finished")

    def handle_error(server, request, client_address):
        events.append(sys.exc_info()[0])
        reported.set()

    server = make(impl, "TCPServer", HalfMade, handle_error=handle_error)
    with serving(server), connect(server) as client:
        assert read_all(client) == b""
        assert reported.wait(patience(server))
    assert events[1:] == ["finished", LookupError]
    assert events[0].closed


def test_finish_runs_after_a_setup_that_made_nothing():
    """C47: finish() of a handler whose setup() raised at once is no second exception."""
    raised = []

    class Unmade(ours.StreamRequestHandler):
        def setup(self):
            raise LookupError("at once")

    def handle_error(server, request, client_address):
        raised.append(sys.exc_info()[1])

    server = make(ours, "TCPServer", Unmade, handle_error=handle_error)
    with serving(server), connect(server) as client:
        assert read_all(client) == b""
    assert [type(error) for error in raised] == [LookupError]
    assert raised[0].__context__ is None
