"""P2: every error that accept(2) knows."""

from __future__ import annotations

import contextlib

import pytest

from tests.promises.faults import (
    MODELS,
    Strace,
    all_answer,
    asked,
    clients,
    descendants,
    inject,
    lines_with,
    needs_strace,
    processes_in,
    short_and_long,
)

# The list of trio's serve_listeners: a connection that was lost before it was taken, and network errors that Linux
# passes on, accept(2) "Error handling".
IGNORABLE = [
    "EPERM",
    "ECONNABORTED",
    "EPROTO",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ENOSR",
    "ESOCKTNOSUPPORT",
    "EPROTONOSUPPORT",
    "ETIMEDOUT",
    "ECONNRESET",
    "EINTR",  # not one of trio's: what a signal does, and Python hides
]
CAPACITY = ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"]
FATAL = ["EBADF", "ENOTSOCK"]


@needs_strace
@pytest.mark.parametrize("model", MODELS)
def test_an_error_of_one_connection_is_not_the_servers(launch, place, model):
    """P2: after each of the ignorable errors the loop is alive, says nothing, and serves the next client."""
    server = launch("tcp4", "127.0.0.1:0", model, "myapp:Echo")
    for errno in IGNORABLE:
        with Strace(server.worker, place, *inject("accept4", f"error={errno}:when=1..2")) as strace:
            assert asked(server) == b"ping\n", errno
            assert len(strace.times("accept4")) >= 2, errno  # strace counts for each thread
    assert "accept failed" not in server.log
    assert server.stop() == 0


@needs_strace
@pytest.mark.parametrize("errno", CAPACITY)
def test_an_error_of_capacity_is_waited_out(launch, place, errno):
    """P2: the server pauses for 100 ms, says so in one line, and then serves the client that waited."""
    server = launch("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo")
    with Strace(server.worker, place, *inject("accept4", f"error={errno}:when=1..3")) as strace:
        assert asked(server) == b"ping\n"
        first, *_, last = strace.times("accept4")
    assert last - first >= 0.2
    assert len(lines_with(server.log, "accept failed")) == 1


@needs_strace
@pytest.mark.parametrize(("errno", "model"), [*((FATAL[0], model) for model in MODELS), (FATAL[1], "--threads")])
def test_a_listener_that_is_none_ends_the_server(launch, place, errno, model):
    """P2: 71, one line with what the system said, and nothing is left."""
    server = launch("unix", str(place / "s"), model, "myapp:Echo")
    family = descendants(server.pid)
    with Strace(server.worker, place, *inject("accept4", f"error={errno}")), contextlib.ExitStack() as client:
        # A thread that had only just started may have tried already.
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            client.enter_context(server.connect())
        assert server.wait() == 71
    (line,) = lines_with(server.log, "srvctl: error:")
    assert line.startswith(f"srvctl: error: cannot accept on unix://{place}/s: ")
    assert "Traceback" not in server.log
    assert not set(family) & set(processes_in(place))
    assert not (place / "s").exists()


@needs_strace
def test_a_listener_that_a_sibling_shut_down_is_given_one_pause(launch, place):
    """P2: EINVAL once is a pause, as with EMFILE; EINVAL again is the end, 71."""
    server = launch("tcp4", "127.0.0.1:0", "--fork", "myapp:Echo")
    with clients(server, 2) as established:
        with Strace(server.worker, place, *inject("accept4", "error=EINVAL:when=1")):
            assert asked(server) == b"ping\n"
        all_answer(established)
    with Strace(server.worker, place, *inject("accept4", "error=EINVAL")) as strace, server.connect():
        assert server.wait() == 71
        first, *_, last = strace.times("accept4")
    assert last - first >= 0.1
    assert len(lines_with(server.log, "srvctl: error: cannot accept on tcp://")) == 1


@needs_strace
@short_and_long("count", 20, 2000)
def test_errors_that_alternate_do_not_end_it(launch, place, count):
    """P2: every other accept fails, with one errno after another, and every client is served."""
    server = launch("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo")
    with Strace(server.worker, place, *inject("accept4", "error=ECONNABORTED:when=1+2")):
        for _ in range(count):
            assert asked(server) == b"ping\n"
    assert server.stop() == 0
