"""P10: a connection that is closed while there is unread input."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from tests.launched import descriptors, wait_until
from tests.promises.faults import MODELS, asked, short_and_long

SIZE = 200_000
UNREAD = b"first line\n" + b"y" * 30_000


def converse(server, *, slow: bool = False) -> int:
    """Send more than is read, and return how many bytes of the reply came; `slow` reads it a bit at a time."""
    with server.connect() as client:
        client.sendall(UNREAD)
        received = 0
        while data := client.recv(1000 if slow else 65536):
            received += len(data)
            if received < 30_000:
                client.sendall(b"z")  # more input, for a handler that does not read
        return received


@short_and_long("rounds", 40, 3_400)
@pytest.mark.parametrize(("family", "model"), [*(("tcp4", model) for model in MODELS), ("unix", "--fork")])
def test_unread_input_does_not_cost_the_reply(launch, place, model, family, rounds):
    """P10: of 10,000 closes with unread input, 3,400 a model, no reply of 200 kB is cut short."""
    address = "127.0.0.1:0" if family == "tcp4" else str(place / "s")
    server = launch(family, address, model, "promised:Large")
    assert converse(server, slow=True) == SIZE
    for _ in range(rounds):
        assert converse(server) == SIZE
    assert server.stop() == 0
    assert server.log.count(f"sent={SIZE} how=done") == rounds + 1


@pytest.mark.parametrize("model", MODELS)
def test_many_at_once_get_their_replies(launch, model):
    """P10: 40 clients at the same time, half of them slow readers: nothing is cut short."""
    server = launch("tcp4", "127.0.0.1:0", model, "promised:Large")
    received: list[int] = []
    threads = [
        threading.Thread(target=lambda slow=slow: received.append(converse(server, slow=slow)))
        for slow in [True, False] * 20
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert received == [SIZE] * 40


def test_the_drain_of_a_connection_never_holds_the_next(launch):
    """P10: while peers keep their side open, a server without concurrency serves the next client after each."""
    server = launch("tcp4", "127.0.0.1:0", "--sync", "myapp:Greet")
    began = time.monotonic()
    with contextlib.ExitStack() as opened:
        for _ in range(5):
            lingering = opened.enter_context(server.connect())
            lingering.sendall(b"unread")
            assert lingering.recv(100) == b"hello\n"
            assert lingering.recv(100) == b""  # half-closed, and kept open until we close or 2 s are over
            assert asked(server, b"x\n") == b"hello\n"
    assert time.monotonic() - began < 10  # what five such drains take, if they are waited for


@pytest.mark.parametrize("model", ["--sync", "--fork"])
def test_a_peer_that_never_ends_is_closed_on(launch, model):
    """P10: the drain takes 2 s and 64 KiB at most: who keeps sending is cut off, who does nothing is closed."""
    server = launch("tcp4", "127.0.0.1:0", model, "myapp:Greet")
    assert asked(server) == b"hello\n"
    worker = server.worker
    at_rest = 2 if model == "--fork" else 1  # its listener, and the channel of the child that waits
    wait_until(lambda: _connections(worker) == at_rest, "worker without a connection", server)
    with server.connect() as silent, server.connect() as endless:
        assert silent.recv(100) == endless.recv(100) == b"hello\n"
        assert silent.recv(100) == endless.recv(100) == b""
        wait_until(lambda: _connections(worker) == at_rest + 2, "rest but for two connections", server)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(10_000):
                endless.send(b"x" * 8192)
        wait_until(lambda: _connections(worker) == at_rest, "closed connections", server)
    assert server.stop() == 0


def _connections(worker: int) -> int:
    """Return how many sockets the worker has, but for its channel."""
    return sum(what.startswith("socket:") for what in descriptors(worker).values()) - 1
