"""P3: whatever a handler raises ends its own conversation and nothing else."""

from __future__ import annotations

import random

import pytest

from tests.launched import descriptors, wait_until
from tests.promises.faults import MODELS, all_answer, ask, asked, clients, lines_with, short_and_long

ORDINARY = ["ValueError", "KeyError", "OSError", "MemoryError", "AssertionError", "StopIteration", "StopAsyncIteration"]
# Those that code outside of a handler takes for news about something else.
MISTAKABLE = [
    "BlockingIOError",
    "InterruptedError",
    "ChildProcessError",
    "TimeoutError",
    "EOFError",
    "ProcessLookupError",
]
OF_A_PEER = ["ConnectionResetError", "BrokenPipeError", "ConnectionAbortedError", "ConnectionRefusedError"]
NOT_EXCEPTIONS = ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "BaseException"]
STRANGE = ["RecursionError", "recurse", "Unprintable", "Rude", "Warning", "UnicodeError"]
KINDS = [*ORDINARY, *MISTAKABLE, *OF_A_PEER, *NOT_EXCEPTIONS, *STRANGE]


@short_and_long("count", 80, 10_000)
@pytest.mark.parametrize("model", MODELS)
def test_no_exception_of_a_handler_ends_anything_else(launch, model, count):
    """P3: of 10,000 exceptions of every type no one ends the server, leaks a descriptor, or touches another client."""
    generator = random.Random(3)
    server = launch("tcp4", "127.0.0.1:0", model, "promised:RaiseAny")
    assert asked(server, b"none\n") == b"served\n"
    worker = server.worker
    at_rest = (3, 1) if model == "--fork" else (2, 0)  # with the channel of the child that waits, and its pidfd
    wait_until(lambda: _sockets_and_pidfds(worker) == at_rest, "closed connection", server)
    before = len(descriptors(worker))
    kinds = [*KINDS, *(generator.choice(KINDS) for _ in range(count - len(KINDS)))]
    for n, kind in enumerate(kinds):
        with clients(server, 1 if model == "--sync" else 2) as connected:
            assert ask(connected[0], f"{kind} number {n}\n".encode()) == b"", kind
            for other in connected[1:]:
                assert ask(other, b"none\n") == b"served\n"
    assert asked(server, b"none\n") == b"served\n"
    assert server.worker == worker
    wait_until(lambda: len(descriptors(worker)) == before, "descriptors as before", server)
    assert server.stop() == 0
    others = 2 if model == "--sync" else 2 + len(kinds)
    assert len(lines_with(server.log, " ended peer=")) == len(kinds) + others
    assert "hook failed" not in server.log


def _sockets_and_pidfds(pid: int) -> tuple[int, int]:
    open_ones = descriptors(pid).values()
    return sum(what.startswith("socket:") for what in open_ones), sum("pidfd" in what for what in open_ones)


@pytest.mark.parametrize("model", MODELS)
def test_an_exception_is_told_of_with_its_text(launch, model):
    """P3: one line, the type, the text and the peer; a peer that went away is no fault of the handler's."""
    server = launch("tcp4", "127.0.0.1:0", model, "promised:RaiseAny")
    for line in (b"ValueError a text\n", b"Unprintable\n", b"BrokenPipeError gone\n", b"SystemExit 3\n"):
        assert asked(server, line) == b""
    assert server.stop() == 0
    first, second = lines_with(server.log, "handler failed")
    assert 'error="ValueError: a text"' in first
    assert 'error="Unprintable: (its text cannot be had)"' in second
    ends = sorted(line.rpartition("how=")[2].split()[0] for line in lines_with(server.log, " ended "))
    assert ends == ["exit", "failed", "failed", "reset"]


@pytest.mark.parametrize("model", MODELS)
def test_an_exception_leaves_an_established_conversation_alone(launch, place, model):
    """P3: others are served, while 30 of them fail, in the same process."""
    if model == "--sync":
        pytest.skip("one conversation at a time")
    (place / "both.py").write_text(
        "from myapp import Echo\n"
        "class Both(Echo):\n"
        "    def handle(self):\n"
        "        if self.rfile.peek(1)[:1] == b'!':\n"
        "            raise SystemExit('!')\n"
        "        super().handle()\n"
    )
    server = launch("tcp4", "127.0.0.1:0", model, "both:Both")
    with clients(server, 3) as established:
        all_answer(established)
        for _ in range(30):
            assert asked(server, b"!\n") == b""
        all_answer(established)


@pytest.mark.parametrize("model", MODELS)
def test_an_exception_of_a_datagram_is_its_own_too(launch, place, model):
    """P3: the same for datagrams: the next one is served."""
    (place / "bad.py").write_text(
        "def handler(request, client_address, server):\n"
        "    data, sock = request\n"
        "    kinds = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit]\n"
        "    kinds += [MemoryError, BlockingIOError, OSError]\n"
        "    if data[0] < len(kinds):\n"
        "        raise kinds[data[0]]('no')\n"
        "    sock.sendto(data, client_address)\n"
    )
    server = launch("udp4", "127.0.0.1:0", model, "bad:handler")
    with server.connect() as client:
        for n in range(70):
            client.send(bytes([n % 7]))
            client.send(b"ping")
            assert client.recv(10) == b"ping"
    assert server.stop() == 0
